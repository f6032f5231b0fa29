"""Ranges of versions in tags, such as `>=2`, `^1.4` or `>=1.2 <2 || 3.x`.

A range is one or more alternatives, joined by `||`. An alternative is one or more conditions, joined by spaces or
commas, which all must hold. A condition is an operator (`=`, `!=`, `>`, `>=`, `<`, `<=`, `^`, `~`, or none, which means
`=`) and a version, whose last numbers may be missing or `x` or `*`: `=2` and `2.x` mean any version of 2.

A tag may also omit numbers: `3.20` is the version 3.20.0. A version with a pre-release, as in `2.0.0-rc.1` or
`3.20-slim`, is in a range only if a condition of the alternative names a pre-release of the same three numbers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.model.versions import Version
from core.typing import override

_NUMBER: Final = r"(?:0|[1-9][0-9]{0,17})"
_TAG: Final = re.compile(rf"v?({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?(-[0-9a-zA-Z.-]+)?")
_CONDITION: Final = re.compile(
    rf"(\^|~|!=|>=|<=|=|>|<)?\s*v?(?:[xX*]|({_NUMBER})(?:\.(?:[xX*]|({_NUMBER})))?(?:\.(?:[xX*]|({_NUMBER})))?"
    r"(-[0-9a-zA-Z.-]+)?)"
)
_SEPARATORS: Final = " ,"
_Release = tuple[int, int, int]
_ALTERNATIVES_MAX: Final = 32
_NUMBERS: Final = 3


@dataclass(frozen=True, slots=True)
class TaggedVersion:
    """The version of a tag."""

    version: Version
    release: _Release
    is_prerelease: bool


def version_of(tag: str) -> TaggedVersion | None:
    """Return the version that a tag names, or None. Missing numbers are 0."""
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    release = (int(match[1]), int(match[2] or 0), int(match[3] or 0))
    version = Version.parse(".".join(map(str, release)) + (match[4] or ""))
    return None if version is None else TaggedVersion(version, release, match[4] is not None)


@dataclass(frozen=True, slots=True)
class _Condition:
    holds: Callable[[Version], bool]
    prerelease_of: _Release | None
    """The numbers of the version, if the condition names a pre-release."""


class VersionRange:
    """A range of versions. Immutable.

    Args:
        text: the range.

    Raises:
        ValueError: the text is not a range.
    """

    __slots__ = ("_alternatives", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        parts = text.split("||")
        if len(parts) > _ALTERNATIVES_MAX:
            raise ValueError(f"a range has at most {_ALTERNATIVES_MAX} alternatives")
        self._alternatives = [_alternative(part) for part in parts]

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionRange) and self._text == other._text

    @override
    def __hash__(self) -> int:
        return hash((VersionRange, self._text))

    @override
    def __reduce__(self) -> tuple[type["VersionRange"], tuple[str]]:
        # Conditions are functions, which cannot be sent to another process.
        return VersionRange, (self._text,)

    def matches(self, tag: TaggedVersion) -> bool:
        """Whether a version is in the range."""
        return any(_all_hold(conditions, tag) for conditions in self._alternatives)


def range_problem(text: str) -> str | None:
    """Return the problem with a range that an operator gives, or None."""
    try:
        VersionRange(text)
    except ValueError:
        return "must be a range of versions such as `>=2.1 <3`"
    return None


def _all_hold(conditions: Sequence[_Condition], tag: TaggedVersion) -> bool:
    if tag.is_prerelease and all(each.prerelease_of != tag.release for each in conditions):
        return False
    return all(each.holds(tag.version) for each in conditions)


def _alternative(text: str) -> Sequence[_Condition]:
    conditions: list[_Condition] = []
    position = 0
    text = text.strip(_SEPARATORS)
    while position < len(text) or not conditions:
        match = _CONDITION.match(text, position)
        if match is None or (match.end() < len(text) and text[match.end()] not in _SEPARATORS):
            raise ValueError(f"{text!r} is not a range of versions such as `>=2.1 <3`")
        conditions.append(_condition(match))
        position = match.end()
        while position < len(text) and text[position] in _SEPARATORS:
            position += 1
    return conditions


def _condition(match: re.Match[str]) -> _Condition:
    numbers = [int(number) for number in match.group(2, 3, 4) if number is not None]
    low = (*numbers, 0, 0, 0)[:_NUMBERS]
    release: _Release = (low[0], low[1], low[2])
    if match[5] is None:
        return _Condition(_test(match[1] or "=", numbers, Version(release)), None)
    exact = Version.parse(".".join(map(str, release)) + match[5])
    if exact is None or len(numbers) < _NUMBERS:
        raise ValueError(f"{match[0]!r} is not a version")
    return _Condition(_test(match[1] or "=", numbers, exact, is_exact=True), release)


def _test(operator: str, numbers: Sequence[int], low: Version, *, is_exact: bool = False) -> Callable[[Version], bool]:
    """Return the test of one condition. `low` is the least version with these numbers."""
    is_full = is_exact or len(numbers) == _NUMBERS
    # The first version above all with these numbers; a full version is the only one with its numbers.
    above = None if is_full else _next(numbers, len(numbers))
    tests: Mapping[str, Callable[[Version], bool]] = {
        "=": lambda version: version == low if is_full else _is_between(version, low, above),
        "!=": lambda version: version != low if is_full else not _is_between(version, low, above),
        ">": lambda version: version > low if is_full else above is not None and version >= above,
        ">=": lambda version: version >= low,
        "<": lambda version: version < low,
        "<=": lambda version: version <= low if is_full else above is None or version < above,
        "~": lambda version: _is_between(version, low, _next(numbers, min(2, len(numbers)))),
        "^": lambda version: _is_between(version, low, _next(numbers, _leading(numbers))),
    }
    return tests[operator]


def _leading(numbers: Sequence[int]) -> int:
    """Return how many numbers a caret fixes: all up to the first that is not 0."""
    for position, number in enumerate(numbers, 1):
        if number:
            return position
    return len(numbers)


def _next(numbers: Sequence[int], count: int) -> Version | None:
    """Return the least release above all versions that begin with the first `count` numbers; None if there are none."""
    if not count:
        return None
    raised = (*numbers[: count - 1], numbers[count - 1] + 1, 0, 0)[:_NUMBERS]
    return Version((raised[0], raised[1], raised[2]))


def _is_between(version: Version, low: Version, above: Version | None) -> bool:
    return low <= version and (above is None or version < above)
