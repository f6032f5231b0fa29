"""The untyped configuration tree: sections, lists and scalars, each with its source.

A scalar keeps its raw text beside the value that YAML resolves: a text key needs `012`, `yes` or `1e3` as written,
while a number or a switch needs the value.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from typing_extensions import override

DEFAULT_SOURCE: Final = "default"
"""The source of a value that is not configured."""
_SHOWN_CHARACTERS_MAX: Final = 80
_USERINFO: Final = re.compile(r"//[^/?#\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The source of a value: a line of a file, or an environment variable."""

    origin: str
    line: int | None = None

    @property
    def is_variable(self) -> bool:
        """Whether the source is a variable; variables take precedence over files."""
        return self.line is None

    @override
    def __str__(self) -> str:
        name = printable(self.origin, limit=400)
        return name if self.line is None else f"{name}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A single value; the `repr` does not show it, since it may be a secret."""

    text: str = field(repr=False)
    value: bool | float | str | None = field(repr=False)
    """The value by the rules of YAML 1.1; a number or a switch only if the text is not quoted."""
    source: Source

    @property
    def is_empty(self) -> bool:
        """Whether the value is missing, `~`, `null` or an empty text: all mean the default."""
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
    """Return the node at `path`, or None."""
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
    """Return a path in the usual notation: `health.http[0].uri`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step)}"
    return text.removeprefix(".")


def hide_credentials(text: str) -> str:
    """Replace the user and password of URLs by asterisks."""
    return _USERINFO.sub("//********@", text)


def printable(text: str, *, limit: int = _SHOWN_CHARACTERS_MAX) -> str:
    """Return `text` for display on one line: truncated, without control characters and URL credentials."""
    text = hide_credentials(text)
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
