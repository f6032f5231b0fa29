"""Docstrings and comments keep to the style page in CONTRIBUTING.md: few words that hide a subject or a fact."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.statements import statements
from tests.support.tools import REPOSITORY_ROOT

# These tests read the code and run little of it; measuring coverage would double their time.
pytestmark = pytest.mark.unmeasured

FOLDERS = ("core", "adapters", "config", "entrypoints", "scripts", "tests")
MAX_PER_10_000_WORDS = 5.0
COMMENT = re.compile(r"(?:^ *|  )(# .*)", re.MULTILINE)
"""As ruff formats comments. Tokenizing all modules would take half a minute."""


@dataclass(frozen=True)
class Tic:
    """A habit of style, and the words that show it."""

    name: str
    words: re.Pattern[str]


def tic(name: str, words: str) -> Tic:
    return Tic(name, re.compile(rf"\b(?:{words})\b", re.IGNORECASE))


TICS = [
    tic("personification", "tells?|told|telling|says?|said|saying"),
    tic("pronoun without a noun", "nobody|somebody|anybody|everybody|whoever|whomever|whom"),
    tic("'what' as a noun", "what (?:is|was|are|were|has|have|had|the|an?|it|they|this|that|there|can|could|must|may)"),
    tic("archaic adverb", "anew|meanwhile|likewise|afresh"),
    tic("loose quantity", "at no cost|so many|so long|so much"),
    tic("people", "people"),
    tic("look at", "look(?:s|ed|ing)? (?:at|into)"),
]


def prose(source: str) -> Iterator[str]:
    """Yield the docstrings, the attribute docstrings and the comments of a module."""
    for node in statements(source):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    yield from COMMENT.findall(source)


def files() -> list[Path]:
    return sorted(file for folder in FOLDERS for file in (REPOSITORY_ROOT / folder).rglob("*.py"))


@pytest.fixture(scope="module")
def texts() -> list[tuple[Path, str]]:
    return [(file.relative_to(REPOSITORY_ROOT), text) for file in files() for text in prose(file.read_text())]


@pytest.mark.parametrize("tic", TICS, ids=lambda tic: tic.name)
def test_tics_stay_rare(texts: list[tuple[Path, str]], tic: Tic) -> None:
    words = sum(len(text.split()) for _, text in texts)
    found = [f"{file}: {match[0]}" for file, text in texts for match in tic.words.finditer(text)]
    assert len(found) * 10_000 / words <= MAX_PER_10_000_WORDS, "\n".join(found)


def test_docstrings_name_their_subject(texts: list[tuple[Path, str]]) -> None:
    assert [f"{file}: {text.splitlines()[0]}" for file, text in texts if text.startswith("What ")] == []


def test_prose_is_found() -> None:
    source = '"""A module."""\n\nLIMIT = 3  # a comment\n"""An attribute."""\n\n\ndef f():\n    """Tell it."""\n'
    texts = list(prose(source))
    assert set(texts) == {"A module.", "An attribute.", "Tell it.", "# a comment"}
    assert [tic.name for tic in TICS for text in texts if tic.words.search(text)] == ["personification"]
