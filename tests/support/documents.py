"""Blocks of the documents, for tests that run the documented files."""

import re

from tests.support.tools import REPOSITORY_ROOT


def documented_block(page: str, heading: str, language: str) -> str:
    """Return the first block in a language below a heading of a page in `docs/`."""
    text = (REPOSITORY_ROOT / "docs" / page).read_text()
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE)
    if section is None:
        raise ValueError(f"docs/{page} has no heading {heading!r}")
    block = re.search(rf"^```{language}\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    if block is None:
        raise ValueError(f"docs/{page} has no block of {language} below {heading!r}")
    return block[1]
