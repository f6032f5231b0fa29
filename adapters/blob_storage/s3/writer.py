"""Writer of staged objects: short ones are sent from memory in one request, long ones in parts.

An upload holds at most `parts_in_flight + 1` parts in memory, and only as many as `PartMemory` leaves it. Until these
are full, nothing is sent: content that fits is committed by **one** `PUT` at the target, or left staged by one `PUT` at
the key when the block ends. Longer content becomes a multipart upload of the key, whose parts are sent in parallel
while the client still sends. When the block ends, the tail that does not fill a part is stored in the record (see
`staging`).

A block that resumes reads back at most one part: the small object or the tail. So an upload in many small pieces sends
each byte once as part of a part, plus less than one part for each piece. A plain object longer than a part (one long
piece, or one left by another registry) is moved as it is on commit; if more is appended, it is read back and sent again
in parts, once.

A commit from memory leaves the small staged object in place: removing it would cost a request, and the removal of the
session includes that anyway. `SessionMemory` records that the object is obsolete.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator

from typing_extensions import override

from adapters.blob_storage.keys import require_key
from adapters.blob_storage.s3.body import Body, Buffer
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.moving import Mover
from adapters.blob_storage.s3.multipart import abort_upload, abort_uploads, begin_upload, complete_upload
from adapters.blob_storage.s3.part_memory import HeldBytes, PartMemory
from adapters.blob_storage.s3.reader import open_object
from adapters.blob_storage.s3.removal import delete_object
from adapters.blob_storage.s3.session_memory import SessionMemory
from adapters.blob_storage.s3.staging import Form, StagedRecord, open_staged, read_record, record_key
from adapters.blob_storage.s3.uploading import PartsInFlight, put_object
from core.errors import StorageUnavailableError
from core.ports.blob_storage import SmallObjects
from core.ports.staging import BlobWriter

logger = logging.getLogger(__name__)


class StagedWriter(BlobWriter):
    """Appends to the content staged at a key; created by the storage, which calls `suspend` when the block ends.

    Args:
        client: the open store.
        key: the staged key.
        mover: moves objects that are too long to be sent again.
        sessions: the storage's memory of sessions that ended in this process.
        memory: the memory of all uploads.
        is_fresh: whether to start with no content, ignoring staged content; otherwise the storage calls `take_up`.
    """

    def __init__(
        self,
        client: StoreClient,
        key: str,
        *,
        mover: Mover,
        sessions: SessionMemory,
        memory: PartMemory,
        is_fresh: bool,
    ) -> None:
        self._client = client
        self._key = key
        self._mover = mover
        self._sessions = sessions
        self._memory = memory
        # A block that resumes sends each part as soon as it is full: the next block must not read back more than a
        # part.
        self._full_max = client.options.parts_in_flight + 1 if is_fresh else 1
        self._held = HeldBytes(memory)
        self._parts: PartsInFlight | None = None
        self._moved_size: int | None = None
        """The size of the plain object at the key, if it is committed as it is."""
        self._plain_may_be_there = is_fresh
        self._record_is_there = False
        self._upload_may_be_open = False
        self._stamp: str | None = None
        self._is_changed = False
        self._is_closed = False
        self._is_busy = False
        """Whether the upload's task is inside of a method, which then does what `relieve` would."""
        self._relieving: asyncio.Task[None] | None = None
        self.touched_at = memory.now()
        memory.join(self)

    async def take_up(self) -> None:
        """Continue after the staged bytes."""
        part_bytes = self._client.options.chunk_bytes
        is_long = self._sessions.is_long(self._key)
        async with open_staged(self._client, self._key, keep_bytes_max=part_bytes, is_long=is_long) as staged:
            self._stamp = staged.stamp
            self._plain_may_be_there = staged.form is Form.PLAIN
            if staged.form is Form.PLAIN and staged.content is None:
                self._moved_size = staged.size
            elif staged.record is not None:
                record = staged.record
                self._record_is_there = self._upload_may_be_open = True
                if not record.upload.id:
                    return
                self._parts = PartsInFlight(self._client, self._key, self._memory, record)
            if staged.content is not None:
                async for piece in staged.content:
                    await self._append(memoryview(piece))

    @property
    @override
    def size(self) -> int:
        in_parts = self._parts.size_with_running if self._parts else 0
        return (self._moved_size or 0) + in_parts + self._held.size

    @property
    @override
    def stamp(self) -> str | None:
        return self._stamp

    @override
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        await self._enter()
        try:
            if chunk:
                self._is_changed = True
                if self._moved_size is not None:
                    await self._read_back(self._moved_size)
                await self._append(memoryview(chunk))
        finally:
            self._is_busy = False

    @override
    def append_now(self, chunk: memoryview) -> None:
        """Append a piece to the buffers, without sending any of them."""
        self._require_open()
        self._is_changed = True
        self._held.hold(chunk)
        self.touched_at = self._memory.now()

    @override
    async def make_room(self, wanted: int = sys.maxsize) -> int:
        await self._enter()
        try:
            if self._moved_size is not None:
                await self._read_back(self._moved_size)
            return await self._make_room(wanted, is_last=True)
        finally:
            self.touched_at = self._memory.now()
            self._is_busy = False

    async def _enter(self) -> None:
        """Begin a method of the port, after the end of a task that `relieve` began."""
        self._require_open()
        self._is_busy = True
        if self._relieving is not None:
            await asyncio.wait([self._relieving])
            self._relieving = None

    async def _append(self, rest: memoryview) -> None:
        while rest:
            room = await self._make_room(len(rest), is_last=False)
            self._held.hold(rest[:room])
            rest = rest[room:]
        self.touched_at = self._memory.now()

    async def _make_room(self, wanted: int, *, is_last: bool) -> int:
        """Send full parts, unless the whole upload may still fit into memory; return the room for further bytes.

        Args:
            wanted: number of bytes to be appended, at least 1; `sys.maxsize` if it is not known.
            is_last: whether no more than these will be appended in this block.
        """
        held = self._held
        if held.filling is None and held.full:
            in_memory_max = self._full_max * self._client.options.chunk_bytes
            is_long = is_last and wanted < sys.maxsize and self.size + wanted > in_memory_max
            if self._parts is not None or len(held.full) >= self._full_max or is_long:
                await self._send_full()
        buffer = held.filling_buffer()
        size = buffer.size + min(wanted, buffer.capacity - buffer.size)
        while not self._memory.try_grow(buffer, size, is_last=is_last):
            if held.full:
                await self._send_full()
            elif self._parts is not None and self._parts.is_sending:
                await self._parts.settle_first()
            else:
                await self._memory.grow(buffer, size, is_last=is_last)
        return buffer.charge - buffer.size

    async def _send_full(self) -> None:
        if self._parts is None:
            self._parts = await self._begin_parts()
        while self._held.full:
            await self._parts.add(self._held.full[0])
            del self._held.full[0]

    def relieve(self) -> None:
        """Give back unused memory and send full parts, because the client is idle and other uploads wait."""
        if self._is_busy or self._is_closed or self._relieving is not None:
            return
        if self._held.filling is not None:
            self._memory.trim(self._held.filling)
        if self._held.full:
            self._relieving = asyncio.create_task(self._send_early())

    async def _send_early(self) -> None:
        try:
            await self._send_full()
        except StorageUnavailableError as error:
            # The upload's task tries again with its next bytes, and raises the error if it fails as well.
            logger.info("%s: cannot send the parts of an idle upload: %s", self._client.dialect.name, error)

    async def _begin_parts(self) -> PartsInFlight:
        earlier = await read_record(self._client, self._key)
        if earlier is None:
            await self._write_record(StagedRecord())
        else:
            # A process was killed during an upload, or a cancelled block left its upload open.
            self._record_is_there = True
            await self._abort(earlier.upload.id)
        self._upload_may_be_open = True
        upload = await begin_upload(self._client, self._key, sends_parts=True)
        return PartsInFlight(self._client, self._key, self._memory, StagedRecord(upload))

    async def _read_back(self, size: int) -> None:
        """Send a plain object again in parts, to which more can be appended."""
        self._full_max = 1
        self._moved_size = None
        try:
            async with open_object(self._client, self._key) as reader:
                async for piece in reader:
                    await self._append(memoryview(piece))
        except BaseException:
            # Only some of the content is in parts: the object at the key remains valid.
            self._held.free()
            self._moved_size = size
            await self._drop_parts()
            raise

    @override
    async def content(self) -> AsyncIterator[bytes]:
        await self._enter()
        if self._parts is not None:
            await self._complete_at_key(self._parts)
        for held in self._held.body().slices():
            yield bytes(held)
        if self._moved_size is not None:
            async with open_object(self._client, self._key) as reader:
                async for piece in reader:
                    yield piece

    async def _complete_at_key(self, parts: PartsInFlight) -> None:
        """Assemble the parts and the tail into a plain object at the staged key."""
        await parts.settle()
        size = parts.size
        stored = list(parts.stored)
        # The tail stays in the buffers until the upload is complete: as a middle part it would be too short.
        for number, buffer in enumerate(self._held.buffers(), len(stored) + 1):
            stored.append(await parts.send(number, Body(*buffer.views())))
            size += buffer.size
        await complete_upload(self._client, self._key, parts.upload.id, stored, size)
        self._parts = None
        self._held.free()
        self._moved_size = size
        self._plain_may_be_there = True
        self._upload_may_be_open = False
        # Remove the record before the object is moved: a record without its upload and its object could not be resumed.
        await self._remove_record()

    @override
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        await self._enter()
        require_key(target)
        if self._parts is not None:
            await self._complete_at_key(self._parts)
        if self._moved_size is None:
            await put_object(self._client, target, self._held.body())
            self._held.free()
            if self._plain_may_be_there:
                self._sessions.supersede(self._key)
        else:
            await self._mover.move(self._key, target, self._moved_size)
            self._plain_may_be_there = False
        self._is_closed = True
        await self._remove_record()
        self._sessions.end(self._key)
        for key, content in then:
            await put_object(self._client, require_key(key), Body(content))

    @override
    async def discard(self) -> None:
        if not self._is_closed:
            await self._enter()
        self._is_closed = True
        await self._drop_parts()
        if self._plain_may_be_there:
            await delete_object(self._client, self._client.store_key(self._key))
            self._sessions.forget(self._key)
            self._plain_may_be_there = False
        self._sessions.end(self._key)

    async def suspend(self) -> None:
        """Store the written bytes for the next block. At most two requests, besides parts still in flight.

        Raises:
            StorageUnavailableError: the store failed. The content stored by an earlier block is still there.
        """
        if self._is_closed or not self._is_changed:
            return
        await self._enter()
        if self._parts is not None:
            await self._keep_parts(self._parts)
        elif self._moved_size is None:
            stored = await put_object(self._client, self._key, self._held.body())
            self._stamp = stored.etag
            self._sessions.forget(self._key)
            if self.size > self._client.options.chunk_bytes:
                self._sessions.expect_long(self._key)

    async def _keep_parts(self, parts: PartsInFlight) -> None:
        """Write the record. If a part cannot be sent, the parts before it are kept."""
        failure: StorageUnavailableError | None = None
        try:
            await self._send_full()
            await parts.settle()
        except StorageUnavailableError as error:
            failure = error
            await parts.drop()
        tail = self._held.body().buffers if failure is None else ()
        await self._write_record(StagedRecord(parts.upload, tuple(parts.stored), parts.size), *tail)
        if failure is not None:
            raise failure
        if self._plain_may_be_there:
            await delete_object(self._client, self._client.store_key(self._key))
            self._sessions.forget(self._key)

    async def _drop_parts(self) -> None:
        """Abort the multipart upload, if there is one, and remove its record."""
        if self._parts is not None:
            await self._parts.drop()
            await self._abort(self._parts.upload.id)
            self._parts = None
            self._upload_may_be_open = False
        await self._remove_record()

    async def _abort(self, upload_id: str) -> None:
        """Abort the given upload, then all others at the key: some stores do not list their uploads."""
        if upload_id:
            await abort_upload(self._client, self._client.store_key(self._key), upload_id)
        await abort_uploads(self._client, self._key)

    async def _write_record(self, record: StagedRecord, *tail: Buffer) -> None:
        stored = await put_object(self._client, record_key(self._key), Body(record.header(), *tail))
        # The record contains the parts' checksums and the bytes after them, so its ETag identifies the content.
        self._stamp = stored.etag
        self._record_is_there = True

    async def _remove_record(self) -> None:
        if not self._record_is_there:
            return
        if self._upload_may_be_open:
            await self._abort("")
            self._upload_may_be_open = False
        await delete_object(self._client, self._client.store_key(record_key(self._key)))
        self._record_is_there = False

    def release(self) -> None:
        """Free all memory; called when the block has ended."""
        self._is_closed = True
        self._memory.leave(self)
        if self._relieving is not None:
            self._relieving.cancel()
        if self._parts is not None:
            self._parts.abandon()
        self._held.free()

    def _require_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the staged object was committed or discarded")
