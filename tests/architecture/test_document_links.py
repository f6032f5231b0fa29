"""Every relative link in a Markdown file leads to a file of the project."""

import re
from pathlib import Path

from tests.support.tools import REPOSITORY_ROOT

# Installed packages and caches have documents of their own.
FOREIGN = {".venv", ".cache", "node_modules", ".git", ".pytest_cache"}
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def documents() -> list[Path]:
    return [
        path
        for path in sorted(REPOSITORY_ROOT.rglob("*.md"))
        if not FOREIGN & set(path.relative_to(REPOSITORY_ROOT).parts)
    ]


def test_relative_links_lead_somewhere() -> None:
    dead = [
        f"{document.relative_to(REPOSITORY_ROOT)}: {link}"
        for document in documents()
        for link in LINK.findall(document.read_text())
        if not (document.parent / link).exists()
    ]
    assert dead == []


def test_link_check_finds_documents() -> None:
    """The check above must not pass because it finds nothing."""
    assert REPOSITORY_ROOT / "docs" / "development.md" in documents()
