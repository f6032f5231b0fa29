"""The trash: content removed by deletion and collection, kept for a period and restored on demand.

An entry is written before the items that it names are removed, so a kill in between leaves an entry whose items still
exist. Every copy of a blob in the trash has a key that contains its entry. Ending one entry therefore never removes
data of another, even while items are moved, restored or deleted concurrently. Serving a request never reads the trash,
and distribution does not enter it.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.concurrency import REQUESTS_AT_ONCE, closing, map_bounded
from core.errors import ObjectNotFoundError, StorageCorruptError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import KEYS_PER_REQUEST, BlobStorage
from core.store import layout
from core.store.clock import StoreClock
from core.store.links import RemovedLink
from core.store.objects import find
from core.trash.entry import (
    PART_BYTES_MAX,
    TrashEntry,
    TrashKind,
    TrashPart,
    decode,
    encode,
    entry_id,
    kind_of,
    may_concern,
    split,
)

_logger = logging.getLogger(__name__)

_DATA_KEEP_MIN: Final = timedelta(hours=1)
"""Minimum time to live of entries that hold data, because their collection may still be running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashSummary:
    """Number and size of the items that were removed when entries ended."""

    entries: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    """As far as known."""

    def __add__(self, other: "TrashSummary") -> "TrashSummary":
        """Return the sum of both summaries."""
        return TrashSummary(
            entries=self.entries + other.entries,
            blobs=self.blobs + other.blobs,
            blob_bytes=self.blob_bytes + other.blob_bytes,
        )


class Trash:
    """Records removals and keeps the removed data. One per process; stateless, safe for concurrent tasks.

    Args:
        storage: the store from which items are removed.
        now: the current time, UTC-aware; for information only.
        new_id: returns unique texts of letters, digits and `-`.
        keep: the time during which removed items can be restored; zero disables the recording of deletions.
        store_clock: the clock of the process; without it, only jumps recorded in the store are known.
    """

    def __init__(
        self,
        storage: BlobStorage,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        keep: timedelta,
        store_clock: StoreClock | None = None,
    ) -> None:
        self._storage = storage
        self._store_clock = store_clock or StoreClock(storage)
        self._now = now
        self._new_id = new_id
        self.keep = keep

    @property
    def is_on(self) -> bool:
        """Whether deletions are recorded."""
        return self.keep > timedelta(0)

    def now(self) -> datetime:
        """Return the current time, by the clock that dates entries."""
        return self._now()

    def new_entry(
        self, kind: TrashKind, *, repository: RepositoryName | None = None, by: str = "", reason: str = ""
    ) -> TrashEntry:
        """Create an entry; nothing is stored until `record`."""
        when = self._now()
        return TrashEntry(
            id=entry_id(when, kind, self._new_id(), repository),
            kind=kind,
            when=when,
            by=by,
            repository=repository,
            reason=reason,
        )

    def expires_at(self, entry: TrashEntry) -> datetime:
        """Return when an entry may end, by the clock that dated the entry; for information.

        An entry of a deletion may stay longer (see `expire`).
        """
        return entry.when + self.keep_of(entry.id)

    async def record(
        self,
        entry: TrashEntry,
        *,
        links: Iterable[RemovedLink] = (),
        blobs: Iterable[Digest] = (),
        blob_bytes: int = 0,
        first_part: int = 0,
        trees: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> int:
        """Record items, then remove these trees, then these keys. One storage request per 4,000 items, and the removal.

        A caller that removes the items by itself does so afterwards. If `keep` is zero, the removal of links alone is
        not recorded, which costs nothing.

        Returns:
            The number of the next part, to add more items to the same entry.
        """
        objects: list[tuple[str, bytes]] = []
        if self.is_on or _holds_data(entry.id):
            for part in split(entry, links, blobs, blob_bytes):
                await self._storage.write_all(objects)
                objects = [(layout.trash_entry_part(entry.id, first_part), encode(part))]
                first_part += 1
        await self._storage.write_then_remove(objects, trees=trees, keys=keys)
        return first_part

    async def move_blob(self, digest: Digest, entry: TrashEntry) -> bool:
        """Move a blob's data to the trash, under an entry that names the blob. Return False if there is no data."""
        return await self._move(layout.blob_data(digest), layout.trash_blob_copy(digest, entry.id))

    async def quarantine_blob(self, digest: Digest, entry: TrashEntry) -> bool:
        """Move data that does not match its digest to quarantine; `return_blob` never restores it."""
        return await self._move(layout.blob_data(digest), layout.quarantined_copy(digest, entry.id))

    async def return_blob(self, digest: Digest) -> bool:
        """Restore a blob's data from any entry of the trash; return False if the data is neither there nor in place.

        Idempotent. Existing data is not replaced, because a push may have repaired the blob. Two or three requests.
        """
        if await find(self._storage, layout.blob_data(digest)):
            return True
        for key in await self._copies(digest):
            if await self._move(key, layout.blob_data(digest)):
                return True
        # Another process may have restored the blob first.
        return await find(self._storage, layout.blob_data(digest)) is not None

    async def return_copy(self, digest: Digest, entry: TrashEntry) -> bool:
        """Restore exactly the data that an entry removed, including quarantined data; return False if it is gone.

        Existing data is not replaced. Idempotent. Two requests.
        """
        return await find(self._storage, layout.blob_data(digest)) is not None or await self._move(
            _copy_key(entry, digest), layout.blob_data(digest)
        )

    async def holds_blob(self, digest: Digest) -> bool:
        """Whether the trash has a copy of a blob. One storage request."""
        return bool(await self._copies(digest))

    async def entries(self, kinds: Collection[TrashKind] = tuple(TrashKind)) -> AsyncIterator[TrashEntry]:
        """Yield the entries of these kinds by ascending name, so oldest first. One listing, and one request per entry.

        An unreadable entry is skipped, and a warning is logged.
        """
        async for name in self._names():
            if kind_of(name) in kinds and (part := await self._part(layout.trash_entry_part(name, 0))) is not None:
                yield part.entry

    async def parts(self, name: str) -> AsyncIterator[TrashPart]:
        """Yield the parts of an entry, in order; nothing if there is no such entry.

        One request per part plus a listing. An unreadable part is skipped, and a warning is logged.
        """
        async for _, part in self._stream({name}):
            if part is not None:
                yield part

    async def all_parts(self, of: RepositoryName | None = None) -> AsyncIterator[TrashPart]:
        """Yield the parts of all entries, entry by entry, oldest first. Like `parts`, with 16 concurrent requests.

        If `of` is given, leave out the entries whose name shows that they are not of this repository.
        """
        async for _, part in self._stream(None, of):
            if part is not None:
                yield part

    async def listed(self, *, after: str = "", of: RepositoryName | None = None) -> AsyncIterator[tuple[str, int]]:
        """Yield the name and the number of parts of each entry after `after`; see `all_parts`. Reads no entry."""
        last, count = "", 0
        async for key in self._keys(None, after=after, of=of):
            name = _stem(key)
            if name == after:
                continue
            if count and name != last:
                yield last, count
                count = 0
            last, count = name, count + 1
        if count:
            yield last, count

    async def part(self, name: str, number: int) -> TrashPart | None:
        """Return one part of an entry; None if it is gone or cannot be read. One request."""
        return await self._part(layout.trash_entry_part(name, number))

    async def discard(self, name: str) -> TrashSummary:
        """End an entry: remove its data, then its record. Idempotent.

        Only this entry's own copies are removed. Restored data and the data of other entries stay.
        """
        return await self._end({name})

    async def expire(self) -> TrashSummary:
        """End the entries that are older than `keep`, by the store's clock.

        An entry of a deletion outlives its time while another entry still holds the data of its manifests: data that
        was collected after the deletion can be restored while the entry of the collection exists. Costs a listing of
        the entries, and two or three requests for each old one.
        """
        timeline = await self._store_clock.look()
        held = await self._held()
        written = await self._written_at()
        old = [name for name, at in written.items() if name not in held and at < timeline.before(self.keep_of(name))]
        # Entries that hold data first: other entries may exist only because of them.
        summary = await self._end({name for name in old if _holds_data(name)})
        others = [name for name in old if not _holds_data(name)]
        needed = await map_bounded(self._is_needed, others)
        over = {name for name, is_needed in zip(others, needed, strict=True) if not is_needed}
        return summary + await self._end(over)

    async def empty(self) -> TrashSummary:
        """End all entries regardless of age, except those of running collections."""
        held = await self._held()
        return await self._end({name async for name in self._names() if name not in held})

    def keep_of(self, name: str) -> timedelta:
        """Return the time that an entry of this name stays, from the last write of its record."""
        if kind_of(name) is TrashKind.EVICTION:
            # Left by a killed eviction.
            return _DATA_KEEP_MIN
        return max(self.keep, _DATA_KEEP_MIN) if _holds_data(name) else self.keep

    async def _end(self, names: AbstractSet[str]) -> TrashSummary:
        summary, ended = TrashSummary(), set[str]()
        keys: list[str] = []
        async for key, part in self._stream(names):
            # Data before the record: while a part exists, the removal of its data can be repeated.
            if part is not None and part.blobs:
                await self._storage.delete([_copy_key(part.entry, digest) for digest in part.blobs])
            if part is not None:
                # The first part, which may hold only links, contains the size of all parts.
                summary += TrashSummary(blobs=len(part.blobs), blob_bytes=part.blob_bytes)
            ended.add(_stem(key))
            keys.append(key)
            if len(keys) == KEYS_PER_REQUEST:
                await self._storage.delete(keys)
                keys = []
        if keys:
            await self._storage.delete(keys)
        return summary + TrashSummary(entries=len(ended))

    async def _stream(
        self, names: AbstractSet[str] | None, of: RepositoryName | None = None
    ) -> AsyncIterator[tuple[str, TrashPart | None]]:
        """Yield the parts of the named entries, or of all, with their keys, in order; None for an unreadable part."""
        keys: list[str] = []
        async for key in self._keys(names, of=of):
            keys.append(key)
            if len(keys) == REQUESTS_AT_ONCE:
                for pair in zip(keys, await map_bounded(self._part, keys), strict=True):
                    yield pair
                keys = []
        for pair in zip(keys, await map_bounded(self._part, keys), strict=True):
            yield pair

    async def _keys(
        self, names: AbstractSet[str] | None, *, after: str = "", of: RepositoryName | None = None
    ) -> AsyncIterator[str]:
        if names is not None and not names:
            return
        first, last = (min(names), max(names)) if names else (after, None)
        async with closing(self._storage.list_children(layout.TRASH_ENTRIES, after=first)) as children:
            async for child in children:
                # The keys of an entry's parts begin with its name, and sort after it.
                if last is not None and not child.startswith(last) and child > last:
                    break
                name = _stem(child)
                if name and (names is None or name in names) and (of is None or may_concern(name, of)):
                    yield f"{layout.TRASH_ENTRIES}/{child}"

    async def _move(self, source: str, target: str) -> bool:
        try:
            await self._storage.move(source, target)
        except ObjectNotFoundError:
            return False
        return True

    async def _copies(self, digest: Digest) -> list[str]:
        """Return the keys of a blob's copies. One storage request."""
        directory, stem = layout.trash_blobs(digest), f"{digest.encoded}."
        found: list[str] = []
        async with closing(self._storage.list_children(directory, after=digest.encoded)) as children:
            async for child in children:
                if not child.startswith(stem):
                    break
                found.append(f"{directory}/{child}")
        return found

    async def _names(self) -> AsyncIterator[str]:
        last = ""
        async for key in self._keys(None):
            if (name := _stem(key)) != last:
                yield name
                last = name

    async def _part(self, key: str) -> TrashPart | None:
        try:
            return decode(await self._storage.read(key, limit=PART_BYTES_MAX))
        except ObjectNotFoundError:
            # Another process ended the entry after it was listed.
            return None
        except StorageCorruptError as error:
            _logger.warning("part of a trash entry ignored: %s", error, extra={"key": key})
            return None

    async def _written_at(self) -> dict[str, datetime]:
        """Return the time at which each entry's youngest part was written."""
        youngest: dict[str, datetime] = {}
        async for key, stat in self._storage.walk(layout.TRASH_ENTRIES):
            if name := _stem(key):
                youngest[name] = max(stat.modified_at, youngest.get(name, stat.modified_at))
        return youngest

    async def _held(self) -> set[str]:
        # A collection round has the name of its entry: moved data may have to be restored before the round ends.
        return {name async for name in self._storage.list_children(layout.COLLECTION_ROUNDS)}

    async def _is_needed(self, name: str) -> bool:
        async for part in self.parts(name):
            targets = {link.target for link in part.links if _decides(part.entry, link)}
            for digest in sorted(targets):
                if await self.holds_blob(digest):
                    return True
        return False


def _stem(key: str) -> str:
    """Return the entry's name from the key of a part."""
    return key.rpartition("/")[2].rpartition(".")[0]


def entry_of_part(key: str) -> str:
    """Return the entry's name from the key of a part, or the empty text for the key of another object."""
    return _stem(key) if key.startswith(f"{layout.TRASH_ENTRIES}/") else ""


def _holds_data(name: str) -> bool:
    return kind_of(name) in {TrashKind.COLLECTION, TrashKind.QUARANTINE, TrashKind.EVICTION}


def _decides(entry: TrashEntry, link: RemovedLink) -> bool:
    """Whether the entry is useful while the trash holds the data that the link points at."""
    return entry.kind is TrashKind.BLOB_LINK or layout.is_manifest_link(link.key)


def _copy_key(entry: TrashEntry, digest: Digest) -> str:
    if entry.kind is TrashKind.QUARANTINE:
        return layout.quarantined_copy(digest, entry.id)
    return layout.trash_blob_copy(digest, entry.id)
