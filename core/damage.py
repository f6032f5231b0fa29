"""Damaged content: what pulls find, where it is recorded, and what counts as damaged until it is pushed again.

A record names a digest and the state (size, time) of the object that was found damaged. It counts as long as the object
is in that state: a push, a repair or another registry that replaces the object ends it. Nothing here refuses a pull for
a record alone, since the process that wrote it may have broken memory; the pull hashes what it sends. Pushes are told
that the content is missing, and send it again.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from core import layout
from core.concurrency import map_bounded
from core.content_source import Offload
from core.descriptor import Descriptor
from core.digest import Digest, HasherFactory
from core.errors import (
    ContentDamagedError,
    DigestInvalidError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from core.hashed_reading import HashedReader
from core.ports.blob_storage import BlobReader, BlobStorage, ObjectStat

_logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 30.0
"""How often a process looks at what others recorded."""
RECORDS_MAX: Final = 10_000
"""How many damaged objects, and sizes, a process remembers."""
_RECORD_BYTES_MAX: Final = 1024
HASH_TRUSTED_SECONDS: Final = 3600.0
"""How long a process does not hash an object again that it hashed, as long as its version stays."""
_FAILURES_BELIEVED: Final = 2
"""After so many failed hashes of one object, a process refuses it without another one."""
EXAMINED_BYTES_MAX: Final = 1024 * 1024 * 1024
"""How much one `poll` reads, beside one object of any size."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Suspect:
    stat: ObjectStat
    failures: int
    """How often this process hashed the object to another digest."""


@dataclass(frozen=True, slots=True)
class _Size:
    size: int
    is_proven: bool
    """Whether this process hashed so many bytes to the digest; else a manifest claims it."""


class DamageRecords:
    """Reads and writes the records; holds nothing, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def write(self, digest: Digest, stat: ObjectStat) -> None:
        """Record that the object in this state is damaged. One storage request."""
        document = {"size": stat.size, "modified_at": stat.modified_at.isoformat(), "md5": stat.md5}
        await self._storage.write(layout.damage_record(digest), json.dumps(document).encode())

    async def read(self, digest: Digest) -> ObjectStat | None:
        """Return the state that is recorded as damaged; None where there is no record. One storage request."""
        try:
            document = json.loads(await self._storage.read(layout.damage_record(digest), limit=_RECORD_BYTES_MAX))
            modified_at = datetime.fromisoformat(document["modified_at"])
            return ObjectStat(size=int(document["size"]), modified_at=modified_at, md5=document["md5"])
        except ObjectNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            _logger.warning("damage record cannot be read", extra={"key": layout.damage_record(digest)})
            return None

    async def listed(self) -> Mapping[Digest, datetime]:
        """Return which digests have a record, and the time of each record. One request per 1,000, 10,000 at most."""
        found: dict[Digest, datetime] = {}
        async for key, stat in self._storage.walk(layout.DAMAGED):
            algorithm, _, encoded = key.removeprefix(f"{layout.DAMAGED}/").partition("/")
            try:
                found[Digest(f"{algorithm}:{encoded}")] = stat.modified_at
            except DigestInvalidError:
                continue
            if len(found) == RECORDS_MAX:
                break
        return found

    async def remove(self, digests: Sequence[Digest]) -> None:
        """Remove the records of these digests. Idempotent. One storage request per 1,000."""
        if digests:
            await self._storage.delete([layout.damage_record(digest) for digest in digests])


class DamageWatch:
    """What one process knows of damage; one per process, belongs to one event loop.

    Args:
        storage: where content and records are.
        new_hasher: makes hashers.
        offload: runs hashing off the event loop.
        clock: monotonic seconds.
        on_damage: called once for each object that this process finds damaged.
    """

    def __init__(
        self,
        storage: BlobStorage,
        *,
        new_hasher: HasherFactory,
        offload: Offload,
        clock: Callable[[], float],
        on_damage: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._records = DamageRecords(storage)
        self._new_hasher = new_hasher
        self._offload = offload
        self._clock = clock
        self._on_damage = on_damage
        self._suspects: OrderedDict[Digest, _Suspect] = OrderedDict()
        self._sizes: OrderedDict[Digest, _Size] = OrderedDict()
        self._hashed: OrderedDict[Digest, tuple[str, float]] = OrderedDict()
        """The version of each object that was hashed lately and found sound, and when."""
        self._unwritten: dict[Digest, ObjectStat] = {}
        self._listed: dict[Digest, datetime] = {}

    def claim(self, descriptors: Iterable[Descriptor]) -> None:
        """Take in the sizes that a manifest gives for its blobs. No storage request."""
        for each in descriptors:
            known = self._sizes.get(each.digest)
            if known is None or not known.is_proven:
                _put(self._sizes, each.digest, _Size(each.size, is_proven=False))

    async def prove(self, digest: Digest, size: int) -> None:
        """Take in that `size` bytes with this digest are stored. A request only where damage was known."""
        _put(self._sizes, digest, _Size(size, is_proven=True))
        if digest in self._suspects:
            await self._forget(digest)

    def is_suspected(self, digest: Digest) -> bool:
        """Whether damage is known; then `is_damaged` decides. No storage request."""
        return digest in self._suspects

    async def is_damaged(self, digest: Digest, stat: ObjectStat) -> bool:
        """Whether the object in this state is known to be damaged. A request only where damage was known."""
        known = self._sizes.get(digest)
        if known is not None and known.is_proven and known.size != stat.size:
            await self._note(digest, stat)
            return True
        suspect = self._suspects.get(digest)
        if suspect is None:
            return False
        if _is_same(suspect.stat, stat):
            return True
        await self._forget(digest)
        return False

    @property
    def knows_any(self) -> bool:
        """Whether damage of anything is known."""
        return bool(self._suspects)

    def is_confirmed(self, digest: Digest) -> bool:
        """Whether this process itself has found the damage twice. No storage request."""
        suspect = self._suspects.get(digest)
        return suspect is not None and suspect.failures >= _FAILURES_BELIEVED

    async def checked(self, reader: BlobReader, digest: Digest, *, size: int | None = None) -> BlobReader:
        """Return a reader of the same content that never yields a damaged blob to its end.

        The whole of a blob is hashed where its pieces are iterated, unless this process did so lately. The last piece
        is held back until the hash is right. Whoever copies from `file` gets no hash; there is no `file` where damage
        is known or the size is in doubt. A storage request only in these cases.

        Args:
            reader: has just been opened.
            digest: what the content must hash to.
            size: what is known of the size from elsewhere.

        Raises:
            ContentDamagedError: it is certain that the content is damaged, or a part is wanted where damage is known.
            ObjectNotFoundError: the object was removed.
        """
        is_whole = reader.length == reader.size
        is_doubtful = await self._is_doubtful(digest, reader.size, is_whole=is_whole)
        is_plain = not is_doubtful and {size, reader.committed_size} <= {None, reader.size}
        if not is_whole or (is_plain and self._was_hashed(digest, reader.version)):
            return reader

        async def finish(actual: Digest) -> None:
            if actual != digest:
                await self.report(digest, reader.size)
                raise ContentDamagedError(digest)
            await self.prove(digest, reader.size)
            if reader.version is not None:
                _put(self._hashed, digest, (reader.version, self._clock()))

        hasher = self._new_hasher(digest.algorithm, None)
        return HashedReader(reader, hasher, offload=self._offload, finish=finish, keeps_file=is_plain)

    def _was_hashed(self, digest: Digest, version: str | None) -> bool:
        hashed = self._hashed.get(digest)
        return hashed is not None and hashed[0] == version and self._clock() - hashed[1] < HASH_TRUSTED_SECONDS

    async def _is_doubtful(self, digest: Digest, size: int, *, is_whole: bool) -> bool:
        known = self._sizes.get(digest)
        if known is not None and known.size != size:
            if known.is_proven:
                await self.report(digest, size)
                raise ContentDamagedError(digest)
            return True
        if digest not in self._suspects:
            return False
        if not await self.is_damaged(digest, await self._storage.stat(layout.blob_data(digest))):
            return False
        if not is_whole or self.is_confirmed(digest):
            raise ContentDamagedError(digest)
        return True

    async def report(self, digest: Digest, size: int) -> None:
        """Take in that an object of `size` bytes is not what its digest says, and record it for all processes.

        A store that fails delays the record until `poll`. Two storage requests.
        """
        try:
            stat = await self._storage.stat(layout.blob_data(digest))
        except StorageError as error:
            _logger.error("%s is damaged, which cannot be recorded: %s", digest, error)  # noqa: TRY400 - the store's
            return
        # Another size: replaced since it was read.
        if stat.size == size:
            await self._note(digest, stat)

    async def poll(self) -> None:
        """Look at what other processes recorded, and read what is suspected until that is confirmed or disproved.

        One storage request, one for each new record, and six for each object that is read.

        Raises:
            StorageError: the store failed.
        """
        for digest, stat in list(self._unwritten.items()):
            await self._records.write(digest, stat)
            self._unwritten.pop(digest, None)
        listed = await self._records.listed()
        new = [digest for digest, written_at in listed.items() if self._listed.get(digest) != written_at]
        for digest, recorded in zip(new, await map_bounded(self._records.read, new), strict=True):
            known = self._suspects.get(digest)
            if recorded is not None and (known is None or not _is_same(known.stat, recorded)):
                _put(self._suspects, digest, _Suspect(recorded, failures=0))
        for digest in self._listed.keys() - listed.keys():
            self._suspects.pop(digest, None)
        self._listed = dict(listed)
        await self._examine_suspects()

    async def _examine_suspects(self) -> None:
        examined_bytes = 0
        for digest, suspect in list(self._suspects.items()):
            if self.is_confirmed(digest) or examined_bytes >= EXAMINED_BYTES_MAX:
                continue
            examined_bytes += suspect.stat.size
            for _ in range(_FAILURES_BELIEVED - suspect.failures):
                await self._examine(digest)

    async def _examine(self, digest: Digest) -> None:
        try:
            async with self._storage.open_reader(layout.blob_data(digest)) as opened:
                async for _ in await self.checked(opened, digest):
                    pass
        except ContentDamagedError:
            # Noted by the reader.
            return
        except ObjectNotFoundError:
            self._suspects.pop(digest, None)
        except StorageUnavailableError as error:
            _logger.warning("suspected content cannot be read: %s", error, extra={"digest": digest})

    async def _note(self, digest: Digest, stat: ObjectStat) -> None:
        known = self._suspects.get(digest)
        if known is not None and _is_same(known.stat, stat):
            self._suspects[digest] = replace(known, failures=known.failures + 1)
            return
        _put(self._suspects, digest, _Suspect(stat, failures=1))
        self._on_damage()
        _logger.error("the stored data of %s is damaged: push it again, or run `registry verify --repair`", digest)
        try:
            await self._records.write(digest, stat)
        except StorageError as error:
            self._unwritten[digest] = stat
            _logger.warning("damage is not recorded yet: %s", error, extra={"digest": digest})

    async def _forget(self, digest: Digest) -> None:
        self._suspects.pop(digest, None)
        self._unwritten.pop(digest, None)
        try:
            await self._records.remove([digest])
        except StorageError as error:
            # The record does no harm: the object's state differs from it. A verification removes it.
            _logger.warning("the record of healed damage stays: %s", error, extra={"digest": digest})


def _is_same(one: ObjectStat, other: ObjectStat) -> bool:
    """Whether two states are of one object; a checksum counts where both have it."""
    has_same_sum = one.md5 is None or other.md5 is None or one.md5 == other.md5
    return (one.size, one.modified_at) == (other.size, other.modified_at) and has_same_sum


def _put(table: OrderedDict[Digest, V], digest: Digest, value: V) -> None:
    table[digest] = value
    table.move_to_end(digest)
    if len(table) > RECORDS_MAX:
        table.popitem(last=False)
