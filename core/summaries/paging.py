"""Pages of sorted lists by keys: a marker names the last item that the client has, not its number.

A marker holds the value that the list is sorted by, and the name. So a page continues at the right place even if that
item was deleted or moved since. Items with equal values follow by name; items without a value come last in both
directions. An item that does not change appears on exactly one page, whatever happens to others.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Final, Generic, Self, TypeVar

from core.errors import InvalidInputError, PaginationInvalidError
from core.model.versions import Version

N = TypeVar("N", bound=str)
N_co = TypeVar("N_co", bound=str, covariant=True)

PAGE_SIZE_DEFAULT: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBER_MARKER: Final = re.compile(r"(-?[0-9]{1,30})?\|([a-zA-Z0-9_./-]{1,255})(?:\|(-?[0-9]{1,30}))?")
_VERSION_LENGTH_MAX: Final = 128


class KeyKind(Enum):
    """The kind of value that a list is sorted by, which determines the form of its markers."""

    NAME = auto()
    """The name itself; a marker is any text."""
    VERSION = auto()
    """The version that the name contains; a marker is any text."""
    NUMBER = auto()
    """A number; a marker is `value|name`."""
    TIME = auto()
    """Microseconds since 1970, which grow when an item changes; a marker is `value|name`, ascending `…|until`."""


@dataclass(frozen=True, slots=True)
class Sorting:
    """An order of a list."""

    key: str
    """The property that the list is sorted by."""
    is_descending: bool = False

    @classmethod
    def parse(cls, text: str, keys: Iterable[str]) -> Self:
        """Parse the parameter `sort`: a key, after a `-` for the descending order. The default is the first key.

        Raises:
            InvalidInputError: the list has no such key.
        """
        allowed = list(keys)
        key = text.removeprefix("-") or allowed[0]
        if key not in allowed or text == "-":
            raise InvalidInputError(f"sort must be one of {', '.join(allowed)}, or one of them after a `-`")
        return cls(key, text.startswith("-"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The part of a list that a client asks for."""

    n: int | None = None
    """Maximum number of items; None means the default."""
    last: str = ""
    """The items after this marker; empty for the first ones."""
    before: str = ""
    """The items directly before this marker; empty for those after `last`."""

    def __post_init__(self) -> None:
        if self.last and self.before:
            raise PaginationInvalidError("`last` and `before` exclude each other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[N_co]):
    """Consecutive names of a sorted list, with the markers of the pages beside them."""

    names: Sequence[N_co]
    previous: str | None = None
    """The `before` of the previous page; None if there is none."""
    following: str | None = None
    """The `last` of the next page; None if there is none."""


@dataclass(frozen=True, slots=True)
class _Place(Generic[N_co]):
    """A place in a sorted list."""

    value: Any
    """None if the item has no value."""
    name: N_co


class SortedNames(Generic[N]):
    """Names in one order. Immutable.

    Args:
        values: each name with its value; equal types, except for None.
        kind: the kind of the values.
        is_descending: whether greater values come first.
    """

    def __init__(self, values: Iterable[tuple[N, Any]], kind: KeyKind, *, is_descending: bool) -> None:
        places = sorted((_Place(value, name) for name, value in values), key=attrgetter("name"))
        present = [place for place in places if place.value is not None]
        # Python's sort keeps the order of equal items in both directions, here that of the names.
        present.sort(key=attrgetter("value"), reverse=is_descending)
        self._kind = kind
        self._is_descending = is_descending
        self._present = len(present)
        self._places = present + [place for place in places if place.value is None]

    def __len__(self) -> int:
        return len(self._places)

    def page(self, cut: Cut, *, size_max: int, shows: Callable[[N], bool] | None = None) -> Slice[N]:
        """Return a page.

        A list by ascending times does not contain what changed after its first page was read: such an item would appear
        again at the end, and the list would not end while changes go on.

        Args:
            cut: the part that the client asks for.
            size_max: the largest page.
            shows: whether the list contains a name; None if it contains all.

        Raises:
            PaginationInvalidError: the marker is not one of this order.
        """
        size = min(PAGE_SIZE_DEFAULT if cut.n is None else cut.n, size_max)
        marker = cut.last or cut.before
        place, until = self._parse(marker) if marker else (None, self._newest())
        places = self._places_until(until)
        if shows is not None:
            places = [each for each in places if shows(each.name)]
        start, end = 0, len(places)
        if place is not None and cut.last:
            start = bisect_left(places, True, key=lambda each: self._precedes(place, each))  # noqa: FBT003 - a value
            end = min(end, start + size)
        elif place is not None:
            end = bisect_left(places, True, key=lambda each: not self._precedes(each, place))  # noqa: FBT003 - a value
            start = max(0, end - size)
        else:
            end = min(end, size)
        shown = places[start:end]
        return Slice(
            names=[each.name for each in shown],
            previous=self._marker(shown[0], until) if shown and start > 0 else None,
            following=self._marker(shown[-1], until) if shown and end < len(places) else None,
        )

    def _newest(self) -> int | None:
        """Return the time after which changes are left out; None if the order needs none."""
        if self._kind is not KeyKind.TIME or self._is_descending or not self._present:
            return None
        newest: int = self._places[self._present - 1].value
        return newest

    def _places_until(self, until: int | None) -> Sequence[_Place[N]]:
        if until is None or self._is_descending:
            return self._places
        end = bisect_left(self._places, until + 1, hi=self._present, key=attrgetter("value"))
        return self._places if end == self._present else self._places[:end] + self._places[self._present :]

    def _precedes(self, one: _Place[str], other: _Place[str]) -> bool:
        if one.value is None or other.value is None:
            return other.value is None and (one.value is not None or one.name < other.name)
        if one.value == other.value:
            return one.name < other.name
        return bool(one.value > other.value if self._is_descending else one.value < other.value)

    def _marker(self, place: _Place[N], until: int | None) -> str:
        if self._kind in {KeyKind.NAME, KeyKind.VERSION}:
            return place.name
        marker = f"{'' if place.value is None else place.value}|{place.name}"
        return marker if until is None else f"{marker}|{until}"

    def _parse(self, marker: str) -> tuple[_Place[str], int | None]:
        if self._kind is KeyKind.NAME:
            return _Place(marker, marker), None
        if self._kind is KeyKind.VERSION:
            return _Place(version_of(marker), marker), None
        match = _NUMBER_MARKER.fullmatch(marker)
        if match is None:
            raise PaginationInvalidError("`last` and `before` must be those of a link in the same order")
        value = None if match[1] is None else int(match[1])
        until = None if match[3] is None or self._kind is not KeyKind.TIME else int(match[3])
        return _Place(value, match[2]), until


def microseconds(moment: datetime | None) -> int | None:
    """Return a time as the value of a list; None if it is unknown."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def version_of(text: str) -> Version | None:
    """Return the version that a tag or a marker contains, or None."""
    return Version.parse(text) if len(text) <= _VERSION_LENGTH_MAX else None
