"""The configurations in the pages about the pull-through cache load without a warning."""

import re
from collections.abc import Iterator
from textwrap import dedent, indent

import pytest

from tests.support.configuration import MINIMAL, LoadText
from tests.support.tools import REPOSITORY_ROOT

PAGES = ("README.md", "README.zh-CN.md", "docs/pull-through-cache.md", "docs/zh-CN/pull-through-cache.md")
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def examples() -> Iterator[object]:
    for page in PAGES:
        for number, block in enumerate(_BLOCK.findall((REPOSITORY_ROOT / page).read_text(encoding="utf-8"))):
            if (text := complete(dedent(block))) is not None:
                yield pytest.param(text, id=f"{page}-{number}")


def complete(block: str) -> str | None:
    """Return a whole file around an example; None if the example is not about the cache."""
    if block.startswith("- prefix"):
        block = f"upstreams:\n{block}"
    if block.startswith("upstreams:"):
        block = "proxy:\n" + indent(block, "  ")
    if not re.search(r"^proxy:", block, re.MULTILINE):
        return None
    return block if block.startswith("version:") else MINIMAL + block


@pytest.mark.parametrize("text", list(examples()))
def test_example_of_the_documentation_loads(load_text: LoadText, text: str) -> None:
    if "remoteurl" not in text and "upstreams:" not in text:
        text = text.replace("proxy:\n", "proxy:\n  remoteurl: https://registry-1.docker.io\n")
    loaded = load_text(text)
    assert loaded.warnings == ()
    assert loaded.settings.proxy is not None
