"""Damaged content: detection during pulls, records in the store, and handling until the content is pushed again.

A record contains a digest and the state (size, time) of the damaged object. The record is valid while the object is in
that state. A push, a repair, or another registry that replaces the object invalidates it. A pull is not refused because
of a record alone, since the process that wrote the record may have had faulty memory; instead the pull hashes the
content while sending it. A push is answered as if the content were missing, so the client sends it again.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from core.concurrency import map_bounded
from core.content_source import Offload
from core.errors import (
    ContentDamagedError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest, HasherFactory
from core.ports.blob_storage import BlobReader, BlobStorage, ObjectStat
from core.store import layout
from core.store.hashing import HashedReader
from core.store.link_keys import digest_at

_logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 30.0
"""Interval at which a process reads the records of other processes."""
RECORDS_MAX: Final = 10_000
"""Maximum number of damaged objects, and of sizes, that a process keeps."""
_RECORD_BYTES_MAX: Final = 1024
HASH_TRUSTED_SECONDS: Final = 3600.0
"""Time during which a process does not hash an unchanged object again."""
_FAILURES_TO_CONFIRM: Final = 2
"""After this many failed hashes of an object, a process refuses it without hashing it again."""
EXAMINED_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Maximum number of bytes that one `poll` reads, plus one object of any size."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Suspect:
    stat: ObjectStat
    failures: int
    """Number of times this process hashed the object to another digest."""


@dataclass(frozen=True, slots=True)
class _Size:
    size: int
    is_proven: bool
    """Whether this process hashed this many bytes to the digest; otherwise the size is a manifest's claim."""


class DamageRecords:
    """Reads and writes the records of damage. Stateless; safe for concurrent tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def write(self, digest: Digest, stat: ObjectStat) -> None:
        """Record that the object in this state is damaged. One storage request."""
        document = {"size": stat.size, "modified_at": stat.modified_at.isoformat(), "md5": stat.md5}
        await self._storage.write(layout.damage_record(digest), json.dumps(document).encode())

    async def read(self, digest: Digest) -> ObjectStat | None:
        """Return the state that is recorded as damaged, or None. One storage request."""
        try:
            document = json.loads(await self._storage.read(layout.damage_record(digest), limit=_RECORD_BYTES_MAX))
            modified_at = datetime.fromisoformat(document["modified_at"])
            return ObjectStat(size=int(document["size"]), modified_at=modified_at, md5=document["md5"])
        except ObjectNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            _logger.warning("damage record ignored: it cannot be read", extra={"key": layout.damage_record(digest)})
            return None

    async def listed(self) -> Mapping[Digest, datetime]:
        """Return the digests that have a record, with the time of each; at most 10,000. One request per 1,000."""
        found: dict[Digest, datetime] = {}
        async for key, stat in self._storage.walk(layout.DAMAGED):
            algorithm, _, encoded = key.removeprefix(f"{layout.DAMAGED}/").partition("/")
            if (digest := digest_at(algorithm, encoded)) is not None:
                found[digest] = stat.modified_at
            if len(found) == RECORDS_MAX:
                break
        return found

    async def remove(self, digests: Sequence[Digest]) -> None:
        """Remove the records of these digests. Idempotent. One storage request per 1,000."""
        if digests:
            await self._storage.delete([layout.damage_record(digest) for digest in digests])


class DamageWatch:
    """The damage known to one process. One per process; belongs to one event loop.

    Args:
        storage: the store of the content and the records.
        new_hasher: creates hashers.
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
        """The version of each recently hashed intact object, and the time of the hash."""
        self._unwritten: dict[Digest, ObjectStat] = {}
        self._listed: dict[Digest, datetime] = {}

    def claim(self, descriptors: Iterable[Descriptor]) -> None:
        """Record the sizes that a manifest claims for its blobs. No storage request."""
        for each in descriptors:
            known = self._sizes.get(each.digest)
            if known is None or not known.is_proven:
                _put(self._sizes, each.digest, _Size(each.size, is_proven=False))

    async def prove(self, digest: Digest, size: int) -> None:
        """Record that `size` bytes with this digest are stored. Costs a storage request only if damage was known."""
        _put(self._sizes, digest, _Size(size, is_proven=True))
        if digest in self._suspects:
            await self._forget(digest)

    def is_suspected(self, digest: Digest) -> bool:
        """Whether damage of this digest was found or recorded; `is_damaged` checks the details. No storage request."""
        return digest in self._suspects

    async def is_damaged(self, digest: Digest, stat: ObjectStat) -> bool:
        """Whether the object in this state is known to be damaged. Costs a storage request only if damage was known."""
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
    def has_suspects(self) -> bool:
        """Whether any damage is known."""
        return bool(self._suspects)

    def is_confirmed(self, digest: Digest) -> bool:
        """Whether this process has itself found the damage twice. No storage request."""
        suspect = self._suspects.get(digest)
        return suspect is not None and suspect.failures >= _FAILURES_TO_CONFIRM

    async def checked(self, reader: BlobReader, digest: Digest, *, size: int | None = None) -> BlobReader:
        """Return a reader of the same content that never yields a damaged blob completely.

        A blob that is iterated as a whole is hashed, unless this process hashed it recently. The last chunk is withheld
        until the digest is verified. Copying from `file` is not verified; `file` is None if damage is known or the size
        is in doubt. A storage request is made only in these two cases.

        Args:
            reader: a newly opened reader.
            digest: the expected digest.
            size: the size, if known from another source.

        Raises:
            ContentDamagedError: the content is certainly damaged, or damage is known and only a part was requested.
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
        """Note that an object of `size` bytes does not match its digest, and record this for all processes.

        If the record cannot be written, `poll` tries again. If the object's state cannot be read, an error is logged
        and nothing is recorded. Two storage requests.
        """
        try:
            stat = await self._storage.stat(layout.blob_data(digest))
        except StorageError as error:
            _logger.error("damage of %s cannot be recorded: %s", digest, error)  # noqa: TRY400 - the store's
            return
        # Another size: the object was replaced after it was read.
        if stat.size == size:
            await self._note(digest, stat)

    async def poll(self) -> None:
        """Read the records of other processes, and hash suspected objects until the damage is confirmed or disproved.

        One storage request, one per new record, and six per hashed object.

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
            for _ in range(_FAILURES_TO_CONFIRM - suspect.failures):
                await self._examine(digest)

    async def _examine(self, digest: Digest) -> None:
        try:
            async with self._storage.open_reader(layout.blob_data(digest)) as opened:
                async for _ in await self.checked(opened, digest):
                    pass
        except ContentDamagedError:
            # The reader has recorded it.
            return
        except ObjectNotFoundError:
            self._suspects.pop(digest, None)
        except StorageUnavailableError as error:
            _logger.warning("cannot read suspected content: %s", error, extra={"digest": digest})

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
            _logger.warning("damage not recorded, will retry: %s", error, extra={"digest": digest})

    async def _forget(self, digest: Digest) -> None:
        self._suspects.pop(digest, None)
        self._unwritten.pop(digest, None)
        try:
            await self._records.remove([digest])
        except StorageError as error:
            # The stale record is harmless, because the object's state differs from it. A verification removes it.
            _logger.warning("stale damage record not removed: %s", error, extra={"digest": digest})


def _is_same(one: ObjectStat, other: ObjectStat) -> bool:
    """Whether two states are of the same object; checksums are compared if both have one."""
    has_same_sum = one.md5 is None or other.md5 is None or one.md5 == other.md5
    return (one.size, one.modified_at) == (other.size, other.modified_at) and has_same_sum


def _put(table: OrderedDict[Digest, V], digest: Digest, value: V) -> None:
    table[digest] = value
    table.move_to_end(digest)
    if len(table) > RECORDS_MAX:
        table.popitem(last=False)
