"""Writer of staged objects: short ones are sent from memory in one request, long ones in parts.

An upload holds at most `parts_in_flight + 1` parts in memory. Until these are full, nothing is sent: content that fits
is committed by **one** `PUT` at the target, or left staged by one `PUT` at the key when the block ends. Longer content
becomes a multipart upload of the key, whose parts are sent in parallel while the client still sends. When the block
ends, the tail that does not fill a part is stored in the record (see `staging`).

A block that resumes reads back at most one part: the small object or the tail. So an upload in many small pieces sends
each byte once as part of a part, plus less than one part for each piece. A plain object longer than a part (one long
piece, or one left by another registry) is moved as it is on commit; if more is appended, it is read back and sent again
in parts, once.

A commit from memory leaves the small staged object in place: removing it would cost a request, and the removal of the
session includes that anyway. `SessionMemory` records that the object is obsolete.
"""

from collections.abc import AsyncIterator

from typing_extensions import override

from adapters.blob_storage.keys import require_key
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.moving import Mover
from adapters.blob_storage.s3.multipart import abort_upload, abort_uploads, begin_upload, complete_upload
from adapters.blob_storage.s3.reader import open_object
from adapters.blob_storage.s3.removal import delete_object
from adapters.blob_storage.s3.session_memory import SessionMemory
from adapters.blob_storage.s3.staging import Form, Staged, StagedRecord, read_record, record_key
from adapters.blob_storage.s3.uploading import PartsInFlight, put_object
from core.errors import StorageUnavailableError
from core.ports.blob_storage import SmallObjects
from core.ports.staging import BlobWriter


class StagedWriter(BlobWriter):
    """Appends to the content staged at a key; created by the storage, which calls `suspend` when the block ends.

    Args:
        client: the open store.
        key: the staged key.
        staged: the content that is already staged.
        mover: moves objects that are too long to be sent again.
        memory: the storage's memory of sessions that ended in this process.
        is_fresh: whether to start with no content, ignoring staged content.
    """

    def __init__(
        self,
        client: StoreClient,
        key: str,
        staged: Staged,
        *,
        mover: Mover,
        memory: SessionMemory,
        is_fresh: bool,
    ) -> None:
        self._client = client
        self._key = key
        self._mover = mover
        self._memory = memory
        self._part_bytes = client.options.chunk_bytes
        # A block that resumes sends each part as soon as it is full: the next block must not read back more than a
        # part.
        self._held_max = client.options.parts_in_flight + 1 if is_fresh else 1
        self._buffers: list[bytearray] = []
        self._parts: PartsInFlight | None = None
        self._moved_size: int | None = None
        """The size of the plain object at the key, if it is committed as it is."""
        self._plain_may_be_there = is_fresh or staged.form is Form.PLAIN
        self._record_is_there = staged.record is not None
        self._upload_may_be_open = self._record_is_there
        self._stamp = staged.stamp
        self._is_changed = False
        self._is_closed = False
        self._take_up(staged)

    def _take_up(self, staged: Staged) -> None:
        if staged.form is Form.PLAIN and staged.content is None:
            self._moved_size = staged.size
        elif staged.content:
            self._buffers.append(bytearray(staged.content))
        elif staged.record is not None and staged.record.upload.id:
            record = staged.record
            self._parts = PartsInFlight(self._client, self._key, record.upload, record.parts, record.parts_size)
            if record.tail:
                self._buffers.append(bytearray(record.tail))

    @property
    @override
    def size(self) -> int:
        in_parts = self._parts.size_with_running if self._parts else 0
        return (self._moved_size or 0) + in_parts + sum(map(len, self._buffers))

    @property
    @override
    def stamp(self) -> str | None:
        return self._stamp

    @override
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self._require_open()
        if not chunk:
            return
        self._is_changed = True
        if self._moved_size is not None:
            await self._read_back(self._moved_size)
        await self._append(memoryview(chunk))

    @override
    def append_now(self, chunk: memoryview) -> None:
        """Append a piece to the buffers, without sending any of them."""
        self._require_open()
        self._is_changed = True
        self._hold(chunk)

    @override
    async def make_room(self) -> int:
        if self._moved_size is not None:
            await self._read_back(self._moved_size)
        return await self._make_room()

    async def _append(self, rest: memoryview) -> None:
        while rest:
            room = await self._make_room()
            self._hold(rest[:room])
            rest = rest[room:]

    def _hold(self, rest: memoryview) -> None:
        while rest:
            if not self._buffers or len(self._buffers[-1]) >= self._part_bytes:
                self._buffers.append(bytearray())
            buffer = self._buffers[-1]
            room = self._part_bytes - len(buffer)
            buffer += rest[:room]
            rest = rest[room:]

    async def _make_room(self) -> int:
        """Send the full buffers as parts, unless the whole upload may still fit into memory; return the room."""
        full = sum(len(buffer) >= self._part_bytes for buffer in self._buffers)
        if self._parts is not None or full >= self._held_max:
            if self._parts is None:
                self._parts = await self._begin_parts()
            await self._send_full_buffers(self._parts)
        return self._part_bytes - (len(self._buffers[-1]) % self._part_bytes if self._buffers else 0)

    async def _send_full_buffers(self, parts: PartsInFlight) -> None:
        while self._buffers and len(self._buffers[0]) >= self._part_bytes:
            await parts.add(self._buffers[0])
            del self._buffers[0]

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
        return PartsInFlight(self._client, self._key, upload, (), 0)

    async def _read_back(self, size: int) -> None:
        """Send a plain object again in parts, to which more can be appended."""
        self._held_max = 1
        self._moved_size = None
        try:
            async with open_object(self._client, self._key) as reader:
                async for piece in reader:
                    await self._append(memoryview(piece))
        except BaseException:
            # Only some of the content is in parts: the object at the key remains valid.
            self._buffers.clear()
            self._moved_size = size
            await self._drop_parts()
            raise

    @override
    async def content(self) -> AsyncIterator[bytes]:
        self._require_open()
        if self._parts is not None:
            await self._complete_at_key(self._parts)
        for held in Body(*self._buffers).slices():
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
        for number, buffer in enumerate(self._buffers, len(stored) + 1):
            stored.append(await parts.send(number, Body(buffer)))
            size += len(buffer)
        await complete_upload(self._client, self._key, parts.upload.id, stored, size)
        self._parts = None
        self._buffers.clear()
        self._moved_size = size
        self._plain_may_be_there = True
        self._upload_may_be_open = False
        # Remove the record before the object is moved: a record without its upload and its object could not be resumed.
        await self._remove_record()

    @override
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        self._require_open()
        require_key(target)
        if self._parts is not None:
            await self._complete_at_key(self._parts)
        if self._moved_size is None:
            await put_object(self._client, target, Body(*self._buffers))
            if self._plain_may_be_there:
                self._memory.supersede(self._key)
        else:
            await self._mover.move(self._key, target, self._moved_size)
            self._plain_may_be_there = False
        self._is_closed = True
        await self._remove_record()
        self._memory.end(self._key)
        for key, content in then:
            await put_object(self._client, require_key(key), Body(content))

    @override
    async def discard(self) -> None:
        self._is_closed = True
        await self._drop_parts()
        if self._plain_may_be_there:
            await delete_object(self._client, self._client.store_key(self._key))
            self._memory.forget(self._key)
            self._plain_may_be_there = False
        self._memory.end(self._key)

    async def suspend(self) -> None:
        """Store the written bytes for the next block. At most two requests, besides parts still in flight.

        Raises:
            StorageUnavailableError: the store failed. The content stored by an earlier block is still there.
        """
        if self._is_closed or not self._is_changed:
            return
        if self._parts is not None:
            await self._keep_parts(self._parts)
        elif self._moved_size is None:
            stored = await put_object(self._client, self._key, Body(*self._buffers))
            self._stamp = stored.etag
            self._memory.forget(self._key)
            if self.size > self._part_bytes:
                self._memory.expect_long(self._key)

    async def _keep_parts(self, parts: PartsInFlight) -> None:
        """Write the record. If a part cannot be sent, the parts before it are kept."""
        failure: StorageUnavailableError | None = None
        try:
            await self._send_full_buffers(parts)
            await parts.settle()
        except StorageUnavailableError as error:
            failure = error
            await parts.drop()
        tail = self._buffers[0] if self._buffers and failure is None else b""
        await self._write_record(StagedRecord(parts.upload, tuple(parts.stored), parts.size, tail))
        if failure is not None:
            raise failure
        if self._plain_may_be_there:
            await delete_object(self._client, self._client.store_key(self._key))
            self._memory.forget(self._key)

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

    async def _write_record(self, record: StagedRecord) -> None:
        stored = await put_object(self._client, record_key(self._key), Body(record.header(), record.tail))
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

    def _require_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the staged object was committed or discarded")
