"""Content that the upstreams do not have, remembered for a short time, so that clients do not repeat the question."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from core.model.names import Reference, RepositoryName

_ENTRIES_MAX: Final = 20_000
"""Entries have about 300 bytes. Clients choose the names, so the number must be bounded."""


class Absences:
    """Remembers the tags, manifests and blobs that an upstream does not have; one per process.

    Args:
        clock: monotonic seconds.
        entries_max: number of entries; the oldest one is forgotten first.
    """

    def __init__(self, *, clock: Callable[[], float], entries_max: int = _ENTRIES_MAX) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._until: OrderedDict[tuple[RepositoryName, str], float] = OrderedDict()

    def has(self, name: RepositoryName, reference: Reference) -> bool:
        """Whether the upstream of this cached repository lacked the tag or digest when it was last asked."""
        until = self._until.get((name, reference))
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._until[name, reference]
        return False

    def add(self, name: RepositoryName, reference: Reference, *, seconds: float) -> None:
        """Remember for `seconds` that the upstream does not have a tag or digest."""
        if seconds <= 0:
            return
        self._until[name, reference] = self._clock() + seconds
        self._until.move_to_end((name, reference))
        if len(self._until) > self._entries_max:
            self._until.popitem(last=False)

    def forget(self, name: RepositoryName, reference: Reference) -> None:
        """Forget an absence, because the content has been seen."""
        self._until.pop((name, reference), None)
