"""A short memory of lists that upstreams sent."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T
    weight: int
    until: float


class ListingMemory(Generic[K, T]):
    """The lists that were asked for last, up to a total weight; one per process.

    Args:
        clock: monotonic seconds.
        weight_max: total weight of the lists, in the unit of `put`.
    """

    def __init__(self, *, clock: Callable[[], float], weight_max: int) -> None:
        self._clock = clock
        self._weight_max = weight_max
        self._weight = 0
        self._entries: OrderedDict[K, _Entry[T]] = OrderedDict()

    def fresh(self, key: K) -> T | None:
        """Return a list whose time is not over, or None."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and self._clock() < entry.until else None

    def last(self, key: K) -> T | None:
        """Return the last list, however old, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def put(self, key: K, value: T, *, weight: int, seconds: float) -> None:
        """Remember a list for `seconds`, and longer in case the upstream fails."""
        if (old := self._entries.pop(key, None)) is not None:
            self._weight -= old.weight
        self._entries[key] = _Entry(value, weight, self._clock() + seconds)
        self._weight += weight
        while self._weight > self._weight_max:
            _, oldest = self._entries.popitem(last=False)
            self._weight -= oldest.weight
