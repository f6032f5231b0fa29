"""Versions in tags, ordered by Semantic Versioning 2.0.0 ("11. Precedence")."""

import re
from functools import total_ordering
from typing import Final, Self

from core.typing import override

_VERSION: Final = re.compile(
    r"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
)
_NUMBER_LENGTH_MAX: Final = 18
"""A text with a longer number is not a version: such numbers are at best dates, and slow to compare."""


@total_ordering
class Version:
    """A version, compared by precedence; `v1.2.3` equals `1.2.3`. Build metadata cannot occur: tags have no `+`."""

    __slots__ = ("_key",)

    def __init__(self, release: tuple[int, int, int], prerelease: tuple[str, ...] = ()) -> None:
        # A release sorts after its pre-releases, numbers before words, and fewer fields before more.
        fields = tuple((0, int(field), "") if field.isdecimal() else (1, 0, field) for field in prerelease)
        self._key = (release, not prerelease, fields)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a version with all three numbers; return None if `text` is not one."""
        match = _VERSION.fullmatch(text)
        if match is None or any(len(digits) > _NUMBER_LENGTH_MAX for digits in re.findall("[0-9]+", text)):
            return None
        prerelease = match[4].split(".") if match[4] else ()
        return cls((int(match[1]), int(match[2]), int(match[3])), tuple(prerelease))

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: "Version") -> bool:
        """Whether this version has the lower precedence."""
        return self._key < other._key

    @override
    def __hash__(self) -> int:
        return hash(self._key)
