"""Globs of repositories and tags: the one matcher for access rules, immutable tags, retention and copies.

`*` is any text without a slash, `**` any text, `?` one character that is no slash. A match looks only at texts of
bounded length and never tries a second place for what it has found: access is decided before a name is checked, so a
stranger chooses the text.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from core.names import NAME_LENGTH_MAX

EVERYTHING: Final = "**"
"""The glob that matches every text."""
_ANY_TEXT: Final = re.compile(r"\*{2,}")


@dataclass(frozen=True, slots=True)
class Globs:
    """Matches whatever any of its globs does; immutable."""

    globs: tuple[str, ...]
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        alternatives = "|".join(f"(?:{_expression(glob)})" for glob in self.globs)
        # `**` is any text, line ends too: the check of names refuses such a name, in its own words.
        object.__setattr__(self, "_pattern", re.compile(alternatives or r"(?!)", re.DOTALL))

    def match(self, text: str) -> bool:
        """Whether one of the globs matches all of `text`; a text too long for a name matches `**` alone."""
        if len(text) > NAME_LENGTH_MAX:
            return EVERYTHING in self.globs
        return self._pattern.fullmatch(text) is not None


def _expression(glob: str) -> str:
    """Return the expression of one glob, for `fullmatch`.

    The first place where the text between two wildcards fits leaves the most for what follows, so an atomic group takes
    it for good. Between two `*` this holds although `*` stops at a slash: a text that holds a slash fits in one place.
    """
    first, *others = _ANY_TEXT.split(glob)
    if not others:
        return _segment(first, is_last=True)
    *floating, last = others
    middle = "".join(f"(?>.*?{_segment(each, is_last=False)})" for each in floating)
    return f"{_segment(first, is_last=False)}{middle}.*{_segment(last, is_last=True)}"


def _segment(glob: str, *, is_last: bool) -> str:
    """Return the expression of a glob without `**`; the end of the last one is the end of the text."""
    first, *others = ("".join("[^/]" if each == "?" else re.escape(each) for each in part) for part in glob.split("*"))
    if not others:
        return first
    *middle, last = others
    places = "".join(f"(?>[^/]*?{each})" for each in middle)
    return f"{first}{places}[^/]*{last}" if is_last else f"{first}{places}(?>[^/]*?{last})"
