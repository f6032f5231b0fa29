"""Sections of a Markdown page: headings, blocks of code, and the prose between them."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"\s*```(\w*)")
_HEADING = re.compile(r"(#+) (.*)")
_CONTAINER = re.compile(r"\s*(?:[-*] |\d+\. |===? |!!! |\?\?\?)")
"""A line whose indented continuation is prose, not code."""


@dataclass(frozen=True)
class Block:
    """A block of code; an indented one has no language."""

    language: str
    text: str


@dataclass(frozen=True)
class Section:
    """The part of a page from one heading to the next; `path` has the headings above it, without the title."""

    depth: int
    path: tuple[str, ...]
    blocks: list[Block] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The heading, after those above it."""
        return " / ".join(self.path)


def sections(page: Path) -> list[Section]:
    """Return the sections of a page in order; the first one belongs to the title."""
    found = [Section(0, ())]
    for part in _parts(page.read_text().splitlines()):
        if isinstance(part, Block):
            found[-1].blocks.append(part)
        elif heading := _HEADING.fullmatch(part):
            depth = len(heading[1])
            above = found[-1].path[: max(depth - 2, 0)]
            found.append(Section(depth, (*above, heading[2]) if depth > 1 else ()))
        else:
            found[-1].prose.append(part)
    return found[1:] if not any(found[0].prose) else found


def without(page: list[Section], left_out: Collection[str]) -> list[Section]:
    """Return the sections except those with the names; `NAME / *` is every section below NAME."""
    return [section for section in page if not _covers(left_out, section)]


def _covers(names: Collection[str], section: Section) -> bool:
    above = [" / ".join(section.path[:length]) for length in range(1, len(section.path))]
    return section.name in names or any(name in names or f"{name} / *" in names for name in above)


def _parts(lines: list[str]) -> Iterator[str | Block]:
    """Yield the lines of a page, and each block of code as a whole."""
    number, container = 0, False
    while number < len(lines):
        line = lines[number]
        if fence := _FENCE.match(line):
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
            yield Block(fence[1], _dedent(lines[number + 1 : end]))
            number = end + 1
        elif line.startswith("    ") and not container:
            end = next((n for n in range(number, len(lines)) if not lines[n].startswith("    ")), len(lines))
            yield Block("", _dedent(lines[number:end]))
            number = end
        else:
            container = bool(_CONTAINER.match(line)) or (container and (not line or line.startswith(" ")))
            yield line
            number += 1


def _dedent(lines: list[str]) -> str:
    indent = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return "\n".join(line[indent:] for line in lines)
