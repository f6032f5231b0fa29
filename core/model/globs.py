"""Globs for repositories and tags, shared by access rules, immutable tags, retention and copies.

`*` matches any text without a slash, `**` any text, and `?` one character other than a slash.

Matching takes bounded time. Text longer than a repository name is not searched, and atomic groups prevent backtracking
over earlier wildcards. Access is checked before a name is validated, so an unauthenticated client chooses the text.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from core.model.names import NAME_LENGTH_MAX

EVERYTHING: Final = "**"
"""The glob that matches every text."""
REPOSITORIES_DOC: Final = "Globs of repositories; `*` does not match a slash, `**` does."
"""The meaning of the setting `repositories` in rules."""
_ANY_TEXT: Final = re.compile(r"\*{2,}")


@dataclass(frozen=True, slots=True)
class Globs:
    """A set of globs; text matches if any glob matches it. Immutable."""

    globs: tuple[str, ...]
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        alternatives = "|".join(f"(?:{_expression(glob)})" for glob in self.globs)
        # DOTALL: `**` also matches line ends, so that name validation rejects such a name with its own error.
        # An empty pattern would match the empty text; `(?!)` matches nothing.
        object.__setattr__(self, "_pattern", re.compile(alternatives or r"(?!)", re.DOTALL))

    def match(self, text: str) -> bool:
        """Whether a glob matches all of `text`. Text longer than a repository name matches only `**`."""
        if len(text) > NAME_LENGTH_MAX:
            return EVERYTHING in self.globs
        return self._pattern.fullmatch(text) is not None


def glob_problem(text: str) -> str | None:
    """Return the problem with a glob that an operator gives, or None."""
    return None if text and text.isprintable() and " " not in text else "must be a glob such as `team/**`"


def _expression(glob: str) -> str:
    """Return the regular expression of one glob, for `fullmatch`.

    Each literal part between two wildcards matches at the first position where it fits. This position leaves the most
    text for the parts that follow, so no other position has to be tried, and an atomic group rules out backtracking.
    The same holds between two `*`, although `*` stops at a slash: a part that contains a slash fits at one position
    only.
    """
    first, *others = _ANY_TEXT.split(glob)
    if not others:
        return _segment(first, is_last=True)
    *floating, last = others
    middle = "".join(f"(?>.*?{_segment(each, is_last=False)})" for each in floating)
    return f"{_segment(first, is_last=False)}{middle}.*{_segment(last, is_last=True)}"


def _segment(glob: str, *, is_last: bool) -> str:
    """Return the expression of a glob without `**`. The last segment must end where the text ends."""
    first, *others = ("".join("[^/]" if each == "?" else re.escape(each) for each in part) for part in glob.split("*"))
    if not others:
        return first
    *middle, last = others
    places = "".join(f"(?>[^/]*?{each})" for each in middle)
    return f"{first}{places}[^/]*{last}" if is_last else f"{first}{places}(?>[^/]*?{last})"
