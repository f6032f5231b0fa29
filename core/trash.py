"""The trash: what deletion and collection take away, kept for a time and brought back on demand.

An entry is written before anything that it names is removed, so a kill in between leaves an entry whose things are
still there. Every copy of a blob in the trash has a key of its own entry: what one entry's end removes can never be
what another one keeps, whoever moves, restores or empties at the same moment. Nothing of the trash is ever read by a
registry that serves; distribution does not enter it.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core import layout
from core.concurrency import REQUESTS_AT_ONCE, closing, map_bounded
from core.digest import Digest
from core.errors import ObjectNotFoundError, StorageCorruptError
from core.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store_clock import StoreClock
from core.trash_entry import (
    PART_BYTES_MAX,
    RemovedLink,
    TrashEntry,
    TrashKind,
    TrashPart,
    decode,
    encode,
    entry_id,
    kind_of,
    split,
)

_logger = logging.getLogger(__name__)

_DATA_KEEP_MIN: Final = timedelta(hours=1)
"""What holds data does not expire sooner, however short the time: its collector may just have begun."""
_KEYS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashSummary:
    """What went when entries ended."""

    entries: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    """As far as it was known."""

    def __add__(self, other: "TrashSummary") -> "TrashSummary":
        """Sum up."""
        return TrashSummary(
            entries=self.entries + other.entries,
            blobs=self.blobs + other.blobs,
            blob_bytes=self.blob_bytes + other.blob_bytes,
        )


class Trash:
    """Records removals and keeps the data; one per process, holds nothing, safe for any number of tasks.

    Args:
        storage: the store that things are removed from.
        now: the time, UTC-aware; for people only.
        new_id: makes unique texts of letters, digits and `-`.
        keep: how long what was removed can be brought back; zero turns the recording of deletions off.
        store_clock: that of the process; without it, only what the store remembers tells of jumps.
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
        """Whether deletions are to be recorded."""
        return self.keep > timedelta(0)

    def new_entry(
        self, kind: TrashKind, *, repository: RepositoryName | None = None, by: str = "", reason: str = ""
    ) -> TrashEntry:
        """Begin an entry; nothing is stored until `record`."""
        when = self._now()
        return TrashEntry(
            id=entry_id(when, kind, self._new_id()),
            kind=kind,
            when=when,
            by=by,
            repository=repository,
            reason=reason,
        )

    async def record(
        self,
        entry: TrashEntry,
        *,
        links: Iterable[RemovedLink] = (),
        blobs: Iterable[Digest] = (),
        blob_bytes: int = 0,
        first_part: int = 0,
    ) -> int:
        """Write down what is about to be removed; call it before removing. One storage request per 4,000 items.

        With a time of zero the removal of mere links is not recorded, at no cost.

        Returns:
            The number of the next part, for more of the same entry.
        """
        if not self.is_on and not _holds_data(entry.id):
            return first_part
        for part in split(entry, links, blobs, blob_bytes):
            await self._storage.write(layout.trash_entry_part(entry.id, first_part), encode(part))
            first_part += 1
        return first_part

    async def move_blob(self, digest: Digest, entry: TrashEntry) -> bool:
        """Move a blob's data to the trash, under an entry that names it; False where there is none (any more)."""
        return await self._move(layout.blob_data(digest), layout.trash_blob_copy(digest, entry.id))

    async def quarantine_blob(self, digest: Digest, entry: TrashEntry) -> bool:
        """Move away what stands at a blob's key and is not that blob: `return_blob` never brings it back."""
        return await self._move(layout.blob_data(digest), layout.quarantined_copy(digest, entry.id))

    async def return_blob(self, digest: Digest) -> bool:
        """Have a blob's data back from the trash, of whichever entry; False where it is neither there nor here.

        Idempotent. What is at its place already stays: it may be a push that healed the blob. Two or three requests.
        """
        if await self._is_at(layout.blob_data(digest)):
            return True
        for key in await self._copies(digest):
            if await self._move(key, layout.blob_data(digest)):
                return True
        # Somebody else may have been faster.
        return await self._is_at(layout.blob_data(digest))

    async def return_copy(self, digest: Digest, entry: TrashEntry) -> bool:
        """Have back the very data that an entry took away, quarantined data too; False where that is gone.

        What is at its place already stays. Idempotent. Two requests.
        """
        return await self._is_at(layout.blob_data(digest)) or await self._move(
            _copy_key(entry, digest), layout.blob_data(digest)
        )

    async def holds_blob(self, digest: Digest) -> bool:
        """Whether the trash has a copy of a blob. One storage request."""
        return bool(await self._copies(digest))

    async def entries(self, kinds: Collection[TrashKind] = tuple(TrashKind)) -> AsyncIterator[TrashEntry]:
        """Yield the entries of these kinds by ascending names: oldest first. One request each, and the listing.

        An entry that cannot be read is logged and left out.
        """
        async for name in self._names():
            if kind_of(name) in kinds and (part := await self._part(layout.trash_entry_part(name, 0))) is not None:
                yield part.entry

    async def parts(self, name: str) -> AsyncIterator[TrashPart]:
        """Yield what an entry's parts hold, in order; nothing for one that does not exist. A request per part, and one.

        A part that cannot be read is logged and left out.
        """
        async for _, part in self._stream({name}):
            if part is not None:
                yield part

    async def all_parts(self) -> AsyncIterator[TrashPart]:
        """Yield the parts of all entries, those of one after those of another, oldest first. As `parts`, 16 at once."""
        async for _, part in self._stream(None):
            if part is not None:
                yield part

    async def discard(self, name: str) -> TrashSummary:
        """End an entry: remove the data that it holds, then its record. Idempotent.

        Only this entry's own copies go: what was brought back, and what another entry holds, stays.
        """
        return await self._end({name})

    async def expire(self) -> TrashSummary:
        """End the entries whose time is over, by the store's own clock.

        An entry of a deletion outlives its time as long as the data of its manifests is in the trash under another
        one: what was collected after it was deleted can be brought back for as long as what was collected. Costs a
        listing of the entries, and two or three requests for each that is old.
        """
        timeline = await self._store_clock.look()
        held = await self._held()
        written = await self._written_at()
        old = [name for name, at in written.items() if name not in held and at < timeline.before(self._keep_of(name))]
        # Those that hold data first: others may be kept by them only.
        summary = await self._end({name for name in old if _holds_data(name)})
        others = [name for name in old if not _holds_data(name)]
        needed = await map_bounded(self._is_needed, others)
        over = {name for name, is_needed in zip(others, needed, strict=True) if not is_needed}
        return summary + await self._end(over)

    async def empty(self) -> TrashSummary:
        """End all entries, whatever their age, but those of collections that are at work right now."""
        held = await self._held()
        return await self._end({name async for name in self._names() if name not in held})

    async def _end(self, names: AbstractSet[str]) -> TrashSummary:
        summary, ended = TrashSummary(), set[str]()
        keys: list[str] = []
        async for key, part in self._stream(names):
            # Data before the record: as long as there is a part, what it names can be ended again.
            if part is not None and part.blobs:
                await self._storage.delete([_copy_key(part.entry, digest) for digest in part.blobs])
            if part is not None:
                # The first part, which may hold links only, has the bytes of all.
                summary += TrashSummary(blobs=len(part.blobs), blob_bytes=part.blob_bytes)
            ended.add(_stem(key))
            keys.append(key)
            if len(keys) == _KEYS_AT_ONCE:
                await self._storage.delete(keys)
                keys = []
        if keys:
            await self._storage.delete(keys)
        return summary + TrashSummary(entries=len(ended))

    async def _stream(self, names: AbstractSet[str] | None) -> AsyncIterator[tuple[str, TrashPart | None]]:
        """Yield the parts of these entries, or of all, with their keys, in order; None for one that cannot be read."""
        keys: list[str] = []
        async for key in self._keys(names):
            keys.append(key)
            if len(keys) == REQUESTS_AT_ONCE:
                for pair in zip(keys, await map_bounded(self._part, keys), strict=True):
                    yield pair
                keys = []
        for pair in zip(keys, await map_bounded(self._part, keys), strict=True):
            yield pair

    async def _keys(self, names: AbstractSet[str] | None) -> AsyncIterator[str]:
        if names is not None and not names:
            return
        first, last = (min(names), max(names)) if names else ("", None)
        async with closing(self._storage.list_children(layout.TRASH_ENTRIES, after=first)) as children:
            async for child in children:
                if last is not None and not child.startswith(last) and child > last:
                    break
                if "." in child and (names is None or _stem(child) in names):
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

    async def _is_at(self, key: str) -> bool:
        try:
            await self._storage.stat(key)
        except ObjectNotFoundError:
            return False
        return True

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
            # Ended by somebody else since it was listed.
            return None
        except StorageCorruptError as error:
            _logger.warning("part of an entry of the trash is left out: %s", error, extra={"key": key})
            return None

    async def _written_at(self) -> dict[str, datetime]:
        """Return when each entry's youngest part was written."""
        youngest: dict[str, datetime] = {}
        async for key, stat in self._storage.walk(layout.TRASH_ENTRIES):
            if name := _stem(key):
                youngest[name] = max(stat.modified_at, youngest.get(name, stat.modified_at))
        return youngest

    async def _held(self) -> set[str]:
        # A round of collection has the name of its entry: what it moved may have to go back before it ends.
        return {name async for name in self._storage.list_children(layout.COLLECTION_ROUNDS)}

    def _keep_of(self, name: str) -> timedelta:
        return max(self.keep, _DATA_KEEP_MIN) if _holds_data(name) else self.keep

    async def _is_needed(self, name: str) -> bool:
        async for part in self.parts(name):
            targets = {link.target for link in part.links if _decides(part.entry, link)}
            for digest in sorted(targets):
                if await self.holds_blob(digest):
                    return True
        return False


def _stem(key: str) -> str:
    """Return the entry's name in the key of a part."""
    return key.rpartition("/")[2].rpartition(".")[0]


def _holds_data(name: str) -> bool:
    return kind_of(name) in {TrashKind.COLLECTION, TrashKind.QUARANTINE}


def _decides(entry: TrashEntry, link: RemovedLink) -> bool:
    """Whether the entry can be of use as long as what the link points at is in the trash."""
    return entry.kind is TrashKind.BLOB_LINK or layout.is_manifest_link(link.key)


def _copy_key(entry: TrashEntry, digest: Digest) -> str:
    if entry.kind is TrashKind.QUARANTINE:
        return layout.quarantined_copy(digest, entry.id)
    return layout.trash_blob_copy(digest, entry.id)
