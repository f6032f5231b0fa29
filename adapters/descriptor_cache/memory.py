"""Descriptors in the memory of this process."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from typing_extensions import override

from adapters.descriptor_cache.marks import SharedMarks
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache

ENTRIES_MAX: Final = 10_000
TIME_TO_LIVE: Final = timedelta(minutes=5)
"""Long enough for the blobs of one push, short enough to notice deletions by other replicas soon."""


class _Entry(NamedTuple):
    size: int
    proven_at: datetime
    marks: tuple[int, int]


class InMemoryDescriptorCache(DescriptorCache):
    """The most recently used entries, up to `entries_max`, each for at most `time_to_live` after `put`.

    Args:
        now: returns the current time, UTC-aware.
        marks: shared with the other processes of the server, so that forgetting a blob affects all of them.
        entries_max: maximum number of entries; each takes at most about 700 bytes.
        time_to_live: the lifetime of an entry.
    """

    name = "inmemory"

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        marks: SharedMarks | None = None,
        entries_max: int = ENTRIES_MAX,
        time_to_live: timedelta = TIME_TO_LIVE,
    ) -> None:
        self._now = now
        self.entries_max = entries_max
        self._time_to_live = time_to_live
        self._marks = marks or SharedMarks()
        self._entries: OrderedDict[tuple[RepositoryName, Digest], _Entry] = OrderedDict()
        self._holders: dict[Digest, set[RepositoryName]] = {}

    @override
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        entry = self._entries.get((name, digest))
        if entry is None:
            return None
        if self._now() - entry.proven_at >= self._time_to_live or entry.marks != self._marks.read(name, digest):
            self._drop(name, digest)
            return None
        self._entries.move_to_end((name, digest))
        return entry.size

    @override
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        self._entries[name, digest] = _Entry(size, self._now(), self._marks.read(name, digest))
        self._entries.move_to_end((name, digest))
        self._holders.setdefault(digest, set()).add(name)
        if len(self._entries) > self.entries_max:
            self._drop(*next(iter(self._entries)))

    @override
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        self._marks.change(name, digest)
        self._drop(name, digest)

    @override
    async def forget_everywhere(self, digest: Digest) -> None:
        self._marks.change_everywhere(digest)
        for name in self._holders.pop(digest, ()):
            del self._entries[name, digest]

    def _drop(self, name: RepositoryName, digest: Digest) -> None:
        if self._entries.pop((name, digest), None) is None:
            return
        holders = self._holders[digest]
        holders.discard(name)
        if not holders:
            del self._holders[digest]


class HintCache(DescriptorCache):
    """Passes entries on to `hints`, and never answers from it.

    Pulls read `hints` itself, because they detect a wrong entry. Pushes ask the store each time: an entry may be
    outdated by a deletion at another replica, and the client would leave out a blob that is gone.

    Args:
        hints: opened and closed with this cache.
    """

    def __init__(self, hints: DescriptorCache) -> None:
        self.name = hints.name
        self._hints = hints

    @override
    async def start(self) -> None:
        await self._hints.start()

    @override
    async def stop(self) -> None:
        await self._hints.stop()

    @override
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        return None

    @override
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        await self._hints.put(name, digest, size)

    @override
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        await self._hints.forget(name, digest)

    @override
    async def forget_everywhere(self, digest: Digest) -> None:
        await self._hints.forget_everywhere(digest)


class DisabledDescriptorCache(DescriptorCache):
    """Caches nothing: for folders, where a lookup in storage takes microseconds."""

    name = "disabled"

    @override
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        return None

    @override
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        """Do nothing."""

    @override
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        """Do nothing."""

    @override
    async def forget_everywhere(self, digest: Digest) -> None:
        """Do nothing."""
