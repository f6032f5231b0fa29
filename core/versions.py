"""Versions in tags, compared as Semantic Versioning 2.0.0 has it ("11. Precedence")."""

import re
from functools import total_ordering
from typing import Final, Self

from core.typing import override

_VERSION: Final = re.compile(
    r"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
)
_NUMBER_LENGTH_MAX: Final = 18
"""Longer numbers are dates at best, and slow to compare."""


@total_ordering
class Version:
    """A version by its precedence; `v1.2.3` is `1.2.3`. Build metadata needs a `+`, which no tag has."""

    __slots__ = ("_key",)

    def __init__(self, release: tuple[int, int, int], prerelease: tuple[str, ...] = ()) -> None:
        # A release comes after its pre-releases; numbers come before words, and fewer fields before more.
        fields = tuple((0, int(field), "") if field.isdecimal() else (1, 0, field) for field in prerelease)
        self._key = (release, not prerelease, fields)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a version with all three numbers, or return None."""
        match = _VERSION.fullmatch(text)
        if match is None or any(len(digits) > _NUMBER_LENGTH_MAX for digits in re.findall("[0-9]+", text)):
            return None
        prerelease = match[4].split(".") if match[4] else ()
        return cls((int(match[1]), int(match[2]), int(match[3])), tuple(prerelease))

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: "Version") -> bool:
        """Whether it has the lower precedence."""
        return self._key < other._key

    @override
    def __hash__(self) -> int:
        return hash(self._key)
