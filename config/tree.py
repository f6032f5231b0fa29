"""Configuration before it has types: sections, lists and scalars, each of which knows where it was written.

A scalar keeps its raw text beside what YAML makes of it, because a text key wants `012`, `yes` or `1e3` as
they were written while a number or a switch wants their meaning.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from typing_extensions import override

_SHOWN_CHARACTERS_MAX: Final = 80
_USERINFO: Final = re.compile(r"//[^/?#\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a value comes from: a line of a file, or a variable of the environment."""

    origin: str
    line: int | None = None

    @property
    def is_variable(self) -> bool:
        """Whether it is a variable, which beats what a file says."""
        return self.line is None

    @override
    def __str__(self) -> str:
        name = printable(self.origin, limit=400)
        return name if self.line is None else f"{name}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A single value; its `repr` shows nothing of it, since it may be a secret."""

    text: str = field(repr=False)
    value: bool | float | str | None = field(repr=False)
    """What YAML 1.1 resolves it to; numbers and switches only when they were not quoted."""
    source: Source

    @property
    def is_empty(self) -> bool:
        """Whether it is nothing, `~`, `null` or an empty text: all mean the default."""
        return not self.text


class Section(dict[str, "Node"]):
    """A mapping; keys are texts as written."""

    def __init__(self, source: Source, entries: Mapping[str, "Node"] | None = None) -> None:
        super().__init__(entries or {})
        self.source = source


class Items(list["Node"]):
    """A list."""

    def __init__(self, source: Source, nodes: Iterable["Node"] = ()) -> None:
        super().__init__(nodes)
        self.source = source


Node: TypeAlias = Scalar | Section | Items
KeyPath: TypeAlias = tuple[str | int, ...]


def find_node(root: Node, path: KeyPath) -> Node | None:
    """Return what stands at `path`, or None."""
    node: Node | None = root
    for step in path:
        if isinstance(node, Section) and isinstance(step, str):
            node = node.get(step)
        elif isinstance(node, Items) and isinstance(step, int):
            node = node[step] if step < len(node) else None
        else:
            return None
    return node


def dotted(path: KeyPath) -> str:
    """Write a path as people do: `health.http[0].uri`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step)}"
    return text.removeprefix(".")


def hide_credentials(text: str) -> str:
    """Blot out the user and password of URLs."""
    return _USERINFO.sub("//********@", text)


def printable(text: str, *, limit: int = _SHOWN_CHARACTERS_MAX) -> str:
    """Return `text` fit for one line that people see: cut, without control characters and credentials of URLs."""
    text = hide_credentials(text)
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
