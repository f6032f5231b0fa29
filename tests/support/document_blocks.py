"""Fenced blocks, inline code and command lines of the documents, for tests that parse the documented commands."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Final

from entrypoints.commands import NAMES
from tests.support.tools import REPOSITORY_ROOT

SHELL: Final = frozenset({"sh", "console", "bash"})
"""The languages of blocks with command lines. In a `console` block the command lines begin with `$ `."""
_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_VARIABLE: Final = re.compile(r"\w+=.*", re.DOTALL)
_SEPARATORS: Final = frozenset({"|", "||", "&&", ";", "&", "(", ")", "then", "do", "else"})
_RUNNERS: Final = frozenset({"docker", "podman", "kubectl", "sudo"})
"""Programs that run the command on their line."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a document."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """The name of a test about this block."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return the documents for users and developers, without the decisions (docs/adr) and the changes."""
    found = sorted((REPOSITORY_ROOT / "docs").rglob("*.md"))
    return [*sorted(REPOSITORY_ROOT.glob("README*.md")), *(path for path in found if path.parent.name != "adr")]


def name_of(page: Path) -> str:
    """Return the path of a page from the root of the project."""
    return str(page.relative_to(REPOSITORY_ROOT))


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(name_of(page), line, found["language"], dedent(found["text"]))


def inline_code(page: Path) -> Iterator[str]:
    """Yield the code between backticks outside fenced blocks."""
    yield from _INLINE.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block, without variables in front and without redirections."""
    text = block.text
    if block.language == "console":
        text = "".join(f"{line[2:]}\n" for line in text.splitlines() if line.startswith("$ "))
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "[]{}@%^+:,!…\\"
        lexer.commenters = ""
        yield from _split(list(_without_comment(lexer)))


def _without_comment(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        if word.startswith("#"):
            return
        yield word


def _split(words: Sequence[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if word in _SEPARATORS:
            if command:
                yield command
            command = []
        elif command or not _VARIABLE.fullmatch(word):
            command.append(word)


def registry_words(command: Sequence[str]) -> list[str] | None:
    """Return the arguments of a command `registry …`, also in a container; None for another program."""
    position = 0
    if command[0] in _RUNNERS:
        following = enumerate(pairwise(command))
        places = [number for number, (word, after) in following if word == "registry" and after in NAMES]
        if not places:
            return None
        position = places[-1]
    if command[position].rpartition("/")[2] != "registry":
        return None
    words = _without_redirection(command[position + 1 :])
    # `registry config.yml` serves.
    return ["serve", *words] if words and re.match(r"[^-]\S*[./]", words[0]) else words


def _without_redirection(words: Sequence[str]) -> list[str]:
    """Return the words before the first redirection, whose file descriptor may stand in front of it."""
    place = next((number for number, word in enumerate(words) if set(word) <= set("<>")), None)
    if place is None:
        return list(words)
    return list(words[: place - 1] if place and words[place - 1].isdecimal() else words[:place])
