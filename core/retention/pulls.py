"""Times of the last pulls, for retention: collected in memory, written periodically, merged when read.

A pull writes nothing. Each process writes its pulls in batches. A batch is an object that contains the age of each pull
at the time of writing, so all times are by the store's clock, independent of the clocks of replicas. A reader takes the
latest time over all batches. The start of the recording is stored too, because earlier pulls are unknown.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from core.concurrency import map_bounded, slices
from core.errors import DigestInvalidError, NameInvalidError, ObjectNotFoundError, StorageFullError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.store import layout
from core.store.objects import find
from core.store.time import store_time

_logger = logging.getLogger(__name__)

REMEMBERED_MAX: Final = 100_000
"""Maximum number of pulled manifests that a process keeps between two writes, about 30 MB."""
GAP: Final = timedelta(days=1)
"""If no process recorded pulls for this long, pulls may have been missed."""
LISTED_MAX: Final = 100_000
"""Maximum number of pulled manifests that a process keeps for lists, about 25 MB."""
_LOOK_SECONDS: Final = 300.0
_BATCH_PULLS: Final = 10_000
_BATCH_BYTES_MAX: Final = 16 * 1024 * 1024

_Pull = tuple[RepositoryName, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulls:
    """The last known pull of each manifest, by the store's clock."""

    since: datetime
    """Start of the records; a manifest without a known pull may have been pulled earlier."""
    times: Mapping[_Pull, datetime] = field(default_factory=dict)

    def last(self, name: RepositoryName, digest: Digest) -> datetime | None:
        """Return the time of the last known pull of a manifest, or None."""
        return self.times.get((name, digest))


class PullRecorder:
    """Collects the pulls that one process served; belongs to one event loop.

    Args:
        storage: the store for the batches.
        clock: monotonic seconds.
        new_id: returns unique texts of letters, digits and `-`.
    """

    def __init__(self, storage: BlobStorage, *, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._storage = storage
        self._clock = clock
        self._new_id = new_id
        self._pulled: dict[_Pull, float] = {}
        self._dropped = 0
        self._is_begun = False

    def note(self, name: RepositoryName, digest: Digest) -> None:
        """Record a pull of a manifest now. In memory; never blocks."""
        pull = (name, digest)
        if len(self._pulled) < REMEMBERED_MAX or pull in self._pulled:
            self._pulled[pull] = self._clock()
        else:
            self._dropped += 1

    async def flush(self) -> int:
        """Write the pulls since the last call; return the number of manifests.

        Costs one request to show that pulls are being recorded, and one per 10,000 manifests.

        Raises:
            StorageError: the store failed; unwritten pulls are kept.
        """
        await self._record_activity()
        if self._dropped:
            _logger.warning("pulls of %d manifests not recorded: too many at once", self._dropped)
            self._dropped = 0
        written = 0
        for pulls in slices(list(self._pulled.items()), _BATCH_PULLS):
            now = self._clock()
            ages = {pull: now - noted_at for pull, noted_at in pulls}
            await self._storage.write(layout.pull_batch(self._new_id()), _encode(ages))
            for pull, noted_at in pulls:
                # A pull during the write is kept for the next one.
                if self._pulled.get(pull) == noted_at:
                    del self._pulled[pull]
            written += len(pulls)
        return written

    async def _record_activity(self) -> None:
        if not self._is_begun and await _has_gap(self._storage, await store_time(self._storage)):
            await self._storage.write(layout.PULLS_SINCE, b"")
        await self._storage.write(layout.PULLS_LATEST, b"")
        self._is_begun = True


class PullHistory:
    """Reads the pulls that all processes recorded. Stateless.

    Args:
        storage: the store that contains the batches.
        new_id: returns unique texts of letters, digits and `-`.
    """

    def __init__(self, storage: BlobStorage, *, new_id: Callable[[], str]) -> None:
        self._storage = storage
        self._new_id = new_id

    async def read(self, *, oldest: timedelta, merges: bool) -> Pulls:
        """Return the last known pulls. Costs a listing, and one request per batch.

        Args:
            oldest: pulls older than this are ignored.
            merges: whether to merge the batches into fewer ones, dropping old pulls. Safe while other processes record
                or merge: a batch is removed only after its content was written elsewhere.
        """
        now = await store_time(self._storage)
        began = await find(self._storage, layout.PULLS_SINCE)
        since = began.modified_at if began else None
        if since is None or await _has_gap(self._storage, now):
            since = now
        times: dict[_Pull, datetime] = {}
        read: list[str] = []
        async for key, stat in self._storage.walk(layout.PULL_BATCHES):
            if (batch := await _batch(self._storage, key, stat)) is None:
                continue
            read.append(key)
            for pull, pulled_at in batch:
                if now - pulled_at <= oldest:
                    times[pull] = max(pulled_at, times.get(pull, pulled_at))
        if merges:
            try:
                await self._merge(times, read, now)
            except StorageFullError:
                _logger.warning("pull batches not merged: the store is full")
        return Pulls(since=since, times=times)

    async def _merge(self, times: Mapping[_Pull, datetime], read: Sequence[str], now: datetime) -> None:
        merged = list(slices(list(times.items()), _BATCH_PULLS))
        if len(read) <= max(1, len(merged)):
            return
        for pulls in merged:
            ages = {pull: (now - pulled_at).total_seconds() for pull, pulled_at in pulls}
            await self._storage.write(layout.pull_batch(self._new_id()), _encode(ages))
        await self._storage.delete(read)


class PullTimes:
    """The last known pull of each manifest, kept in the memory of one process for lists.

    Args:
        storage: the store that contains the batches.
        clock: monotonic seconds.
    """

    def __init__(self, storage: BlobStorage, *, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock
        self._times: dict[RepositoryName, dict[Digest, datetime]] = {}
        self._count = 0
        self._read: set[str] = set()
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def of(self, name: RepositoryName) -> Mapping[Digest, datetime]:
        """Return the last known pulls of the manifests of a repository.

        At most one listing in five minutes, and one request for each new batch.
        """
        if self._clock() - self._read_at >= _LOOK_SECONDS:
            await self._look()
        return self._times.get(name, {})

    async def _look(self) -> None:
        async with self._lock:
            # Another task may have read them while this one waited.
            if self._clock() - self._read_at < _LOOK_SECONDS:
                return
            await self._read_new()

    async def _read_new(self) -> None:
        read_at = self._clock()
        listed = [item async for item in self._storage.walk(layout.PULL_BATCHES)]

        async def read(item: tuple[str, ObjectStat]) -> list[tuple[_Pull, datetime]] | None:
            return await _batch(self._storage, *item)

        for batch in await map_bounded(read, [item for item in listed if item[0] not in self._read]):
            for (name, digest), pulled_at in batch or ():
                self._add(name, digest, pulled_at)
        self._read, self._read_at = {key for key, _ in listed}, read_at

    def _add(self, name: RepositoryName, digest: Digest, pulled_at: datetime) -> None:
        times = self._times.setdefault(name, {})
        if digest not in times:
            if self._count >= LISTED_MAX:
                # Pulls of the other manifests stay known; retention reads all of them.
                return
            self._count += 1
        times[digest] = max(pulled_at, times.get(digest, pulled_at))


async def _has_gap(storage: BlobStorage, now: datetime) -> bool:
    latest = await find(storage, layout.PULLS_LATEST)
    return latest is None or now - latest.modified_at > GAP


async def _batch(storage: BlobStorage, key: str, stat: ObjectStat) -> list[tuple[_Pull, datetime]] | None:
    """Return the content of a batch; None if the batch was removed, or cannot be read and is left in place."""
    try:
        content = await storage.read(key, limit=_BATCH_BYTES_MAX)
        return [(pull, stat.modified_at - timedelta(seconds=age)) for pull, age in _decode(content)]
    except ObjectNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, NameInvalidError, DigestInvalidError):
        _logger.warning("pull batch ignored: it cannot be read", extra={"key": key})
        return None


def _encode(ages: Mapping[_Pull, float]) -> bytes:
    document: dict[str, dict[str, int]] = {}
    for (name, digest), age in ages.items():
        document.setdefault(name, {})[digest] = max(0, int(age))
    return json.dumps(document, separators=(",", ":")).encode()


def _decode(content: bytes) -> Iterator[tuple[_Pull, float]]:
    for name, ages in json.loads(content).items():
        repository = RepositoryName(name)
        for digest, age in ages.items():
            yield (repository, Digest(digest)), float(age)
