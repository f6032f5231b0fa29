"""Copy of blob data between storages. Each blob is verified by its digest before it can be read at the target."""

import asyncio
from collections.abc import AsyncIterator
from enum import Enum
from typing import Final

from core.errors import ObjectBusyError, ObjectNotFoundError, StorageUnavailableError
from core.model.digest import Digest, Hasher
from core.ports.blob_storage import BlobReader, BlobStorage
from core.ports.staging import BlobWriter
from core.store import layout
from core.store.hashing import append, feed
from core.store.objects import find
from core.transfer.context import CopyContext

SMALL_BYTES_MAX: Final = 1024 * 1024
"""Largest blob that is held in memory and written in one request."""
CHECKPOINT_BYTES: Final = 256 * 1024 * 1024
"""Bytes between two checkpoints. After a kill, a longer blob continues from its last checkpoint.

At a checkpoint, an object store writes a record and reads back up to one part, less than 4 % of these bytes.
"""
_PAUSES_SECONDS: Final = (1.0, 5.0, 25.0)
"""Pauses before a blob is retried. The adapters have already retried each request by then."""
_STUCK_ATTEMPTS: Final = 3


class TransferOutcome(Enum):
    """Outcome for one blob."""

    SENT = "sent"
    PRESENT = "present"
    """The target already has the blob."""
    MISSING = "missing"
    """Neither storage has the blob."""
    DAMAGED = "damaged"
    """The bytes at the source do not hash to the digest. The target is unchanged."""

    @property
    def is_whole(self) -> bool:
        """Whether the target now has the blob."""
        return self in {TransferOutcome.SENT, TransferOutcome.PRESENT}


class BlobTransfer:
    """Copies blobs to the target, each at most once per pass. One instance per pass.

    Memory: `blobs_at_once` times the memory of a writer of the target, and `SMALL_BYTES_MAX` for each concurrent call.
    """

    def __init__(self, context: CopyContext) -> None:
        self._context = context
        self._source = context.source
        self._target = context.target
        self._slots = asyncio.Semaphore(context.blobs_at_once)
        self._running: dict[Digest, asyncio.Event] = {}
        self._defects: dict[Digest, TransferOutcome] = {}
        self._stages: dict[Digest, list[int]] = {}
        """Bytes staged at each attempt, for the blobs in progress."""
        self._reread: set[Digest] = set()
        """Blobs of the target that this pass has re-hashed; used only with `rereads_target`."""

    async def copy(self, digest: Digest) -> TransferOutcome:
        """Copy a blob to the target unless it exists there.

        If the blob exists, costs one storage request, and one more to compare the sizes.

        Raises:
            StorageUnavailableError: a storage failed, and failed again after every pause.
            ObjectBusyError: another process with the same `transfer_id` is writing the blob and does not finish.
        """
        while (other := self._running.get(digest)) is not None:
            await other.wait()
        if (defect := self._defects.get(digest)) is not None:
            return defect
        self._running[digest] = ended = asyncio.Event()
        try:
            outcome = await self._copy(digest)
        finally:
            self._stages.pop(digest, None)
            del self._running[digest]
            ended.set()
        if not outcome.is_whole:
            # Remember the defect, so that a damaged layer of many gigabytes is not read again for each repository.
            self._defects[digest] = outcome
        return outcome

    async def size(self, digest: Digest) -> int | None:
        """Return the size of a blob at the source, or None if there is none. One storage request."""
        return await self._size(self._source, digest)

    async def _copy(self, digest: Digest) -> TransferOutcome:
        there = await self._size(self._target, digest)
        if there is not None:
            size = await self.size(digest)
            if size in {None, there} and await self._is_sound(digest):
                return TransferOutcome.PRESENT
        if self._context.is_dry:
            return await self._count_only(digest)
        for pause in _PAUSES_SECONDS:
            try:
                return await self._send(digest)
            except (StorageUnavailableError, ObjectBusyError):
                await self._context.sleep(pause)
        return await self._send(digest)

    async def _size(self, storage: BlobStorage, digest: Digest) -> int | None:
        await self._context.budget.take()
        stat = await find(storage, layout.blob_data(digest))
        return stat.size if stat else None

    async def _is_sound(self, digest: Digest) -> bool:
        if not self._context.rereads_target or digest in self._reread:
            return True
        await self._context.budget.take()
        async with self._slots, self._target.open_reader(layout.blob_data(digest)) as reader:
            actual = await self._hash(digest, aiter(reader))
        if actual == digest:
            self._reread.add(digest)
        return actual == digest

    async def _count_only(self, digest: Digest) -> TransferOutcome:
        size = await self.size(digest)
        if size is None:
            return TransferOutcome.MISSING
        self._context.tally.add(bytes_sent=size)
        return TransferOutcome.SENT

    async def _send(self, digest: Digest) -> TransferOutcome:
        await self._context.budget.take(requests=2)
        try:
            async with self._source.open_reader(layout.blob_data(digest)) as reader:
                size = reader.size
                if size <= SMALL_BYTES_MAX:
                    return await self._send_small(digest, reader)
            # Reopen the blob when a slot is free: a connection that waits for hours is closed.
            async with self._slots:
                return await self._send_large(digest, size)
        except ObjectNotFoundError as error:
            if error.key != layout.blob_data(digest):
                # The staged data is missing, not the blob: another process with this `transfer_id` has finished it.
                raise ObjectBusyError(error.key) from None
            return TransferOutcome.MISSING

    async def _send_large(self, digest: Digest, size: int) -> TransferOutcome:
        staged = await self._staged_size(digest, size)
        await self._context.budget.take(requests=2)
        async with self._source.open_reader(layout.blob_data(digest), offset=staged) as reader:
            outcome = await self._send_from(digest, reader, staged)
        if outcome is TransferOutcome.DAMAGED and staged:
            # The data that an earlier run staged may be at fault. It has been discarded.
            return await self._send_large(digest, size)
        return outcome

    async def _staged_size(self, digest: Digest, size: int) -> int:
        if size <= CHECKPOINT_BYTES:
            return 0
        staged = await self._target.staged_size(layout.transfer_data(self._context.transfer_id, digest))
        attempts = self._stages.setdefault(digest, [])
        attempts.append(staged)
        # Staged data that does not grow cannot be continued, for instance after the store purged a multipart upload.
        is_stuck = attempts[-_STUCK_ATTEMPTS:] == [staged] * _STUCK_ATTEMPTS
        return 0 if is_stuck or staged > size else staged

    async def _send_small(self, digest: Digest, reader: BlobReader) -> TransferOutcome:
        content = b"".join([piece async for piece in self._metered(reader)])
        hasher = self._context.new_hasher(digest.algorithm, None)
        await feed(hasher, content, self._context.offload)
        if hasher.digest() != digest:
            return TransferOutcome.DAMAGED
        await self._target.write(layout.blob_data(digest), content)
        return TransferOutcome.SENT

    async def _send_from(self, digest: Digest, reader: BlobReader, position: int) -> TransferOutcome:
        key = layout.transfer_data(self._context.transfer_id, digest)
        pieces = self._metered(reader)
        hasher = self._context.new_hasher(digest.algorithm, None) if position == 0 else None
        while True:
            async with self._target.open_writer(key, resume=position > 0) as writer:
                if writer.size != position:
                    # Another process has written or removed the staged data.
                    raise ObjectBusyError(key)
                if await self._absorb(writer, hasher, pieces):
                    return await self._finish(writer, hasher, digest)
                position = writer.size

    async def _absorb(self, writer: BlobWriter, hasher: Hasher | None, pieces: AsyncIterator[bytes]) -> bool:
        """Write up to the next checkpoint. Return True if the pieces are exhausted."""
        end = writer.size + CHECKPOINT_BYTES
        async for piece in pieces:
            await append(writer, hasher, piece, self._context.offload)
            if writer.size >= end:
                return False
        return True

    async def _finish(self, writer: BlobWriter, hasher: Hasher | None, digest: Digest) -> TransferOutcome:
        # The hash state of data staged before a kill is lost. All data is read back from the target.
        actual = hasher.digest() if hasher else await self._hash(digest, writer.content())
        if actual != digest:
            await writer.discard()
            return TransferOutcome.DAMAGED
        await writer.commit(layout.blob_data(digest))
        return TransferOutcome.SENT

    async def _hash(self, digest: Digest, pieces: AsyncIterator[bytes]) -> Digest:
        hasher = self._context.new_hasher(digest.algorithm, None)
        async for piece in pieces:
            await self._context.budget.take(requests=0, size=len(piece))
            await feed(hasher, piece, self._context.offload)
        return hasher.digest()

    async def _metered(self, reader: BlobReader) -> AsyncIterator[bytes]:
        async for piece in reader:
            await self._context.budget.take(requests=0, size=len(piece))
            self._context.tally.add(bytes_sent=len(piece))
            yield piece
