"""Uploads to the store: whole objects, and multipart parts in parallel."""

import asyncio
from dataclasses import dataclass
from typing import Any, NamedTuple

from adapters.blob_storage.s3.blocks import PartBuffer
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.dialect import md5_base64
from adapters.blob_storage.s3.errors import NotOfferedError
from adapters.blob_storage.s3.listing import plain_md5
from adapters.blob_storage.s3.multipart import PARTS_MAX, StoredPart, object_parameters
from adapters.blob_storage.s3.part_memory import PartMemory
from adapters.blob_storage.s3.staging import StagedRecord
from core.errors import StorageUnavailableError


class Stored(NamedTuple):
    """The store's answer to an upload of an object."""

    etag: str | None
    etag_is_md5: bool | None
    """Whether the ETag is the object's MD5; None if it cannot be one, or was not compared."""


async def put_object(client: StoreClient, key: str, body: Body, *, if_absent: bool = False) -> Stored:
    """Store a whole object in one request.

    Raises:
        AlreadyThereError: `if_absent` is set and an object exists.
        StorageUnavailableError: the store failed, or reports the MD5 of other content.
    """
    parameters = object_parameters(client)
    if if_absent:
        parameters["IfNoneMatch"] = "*"
    operation = "put_object"
    crc32 = None if if_absent else await client.crc32.of(operation, body)
    suffices = client.crc32.suffices(operation, crc32)
    digest = b"" if suffices else await body.md5()
    if crc32 is not None:
        parameters["ChecksumCRC32"] = crc32
    if digest and client.dialect.checks_object_md5:
        parameters["ContentMD5"] = md5_base64(digest)
    try:
        answer = await client.call(operation, key=key, Body=body, transfer_bytes=len(body), **parameters)
    except NotOfferedError:
        if crc32 is None or suffices:
            raise
        client.crc32.lacks(operation)
        return await put_object(client, key, body)
    client.crc32.learn(operation, crc32, answer, sufficed=suffices)
    etag = answer.get("ETag")
    stored_md5 = plain_md5(etag)
    if stored_md5 is None or not digest:
        return Stored(etag, None)
    if stored_md5 != digest.hex() and client.dialect.etag_is_md5:
        raise StorageUnavailableError(f"{client.dialect.name}: put_object: the stored object has the wrong checksum")
    return Stored(etag, stored_md5 == digest.hex())


@dataclass(frozen=True, slots=True)
class _Part:
    buffer: PartBuffer
    size: int
    task: "asyncio.Task[StoredPart]"


class PartsInFlight:
    """The parts of one multipart upload, uploaded in the background, a bounded number at once.

    Used by one task. A part that has arrived frees its memory. One that failed after all retries keeps its bytes, and
    `settle` sends it again.
    """

    def __init__(self, client: StoreClient, key: str, memory: PartMemory, record: StagedRecord) -> None:
        self._client = client
        self._key = key
        self._memory = memory
        self.upload = record.upload
        self.stored = list(record.parts)
        """The parts that have arrived, without a gap."""
        self.size = record.parts_size
        """The number of bytes in these parts."""
        self._running: list[_Part] = []

    @property
    def is_sending(self) -> bool:
        """Whether parts are in flight, or have failed."""
        return bool(self._running)

    @property
    def size_with_running(self) -> int:
        """The number of bytes in all parts, including those in flight."""
        return self.size + sum(part.size for part in self._running)

    async def add(self, buffer: PartBuffer) -> None:
        """Begin to upload a part; first wait while the maximum number of parts is in flight.

        Raises:
            StorageUnavailableError: an earlier part failed, or the upload has the maximum number of parts.
        """
        if len(self._running) >= self._client.options.parts_in_flight:
            await self.settle_first()
        number = len(self.stored) + len(self._running) + 1
        if number > PARTS_MAX:
            driver = self._client.dialect.name
            raise StorageUnavailableError(f"{driver}: more than {PARTS_MAX} parts: raise storage.{driver}.chunksize")
        task = asyncio.create_task(self._send_and_free(number, buffer))
        task.add_done_callback(_acknowledge)
        self._running.append(_Part(buffer, buffer.size, task))

    async def settle(self) -> None:
        """Wait until all parts have arrived; send failed parts once more.

        Raises:
            StorageUnavailableError: a part failed again; the parts before it are kept.
        """
        while self._running:
            await self.settle_first()

    async def settle_first(self) -> None:
        """Wait until the oldest part in flight has arrived; send it once more if it failed.

        Raises:
            StorageUnavailableError: the part failed again.
        """
        part = self._running[0]
        await asyncio.wait([part.task])
        if part.task.cancelled() or part.task.exception() is not None:
            stored = await self._send_and_free(len(self.stored) + 1, part.buffer)
        else:
            stored = part.task.result()
        del self._running[0]
        self.stored.append(stored)
        self.size += part.size

    async def _send_and_free(self, number: int, buffer: PartBuffer) -> StoredPart:
        stored, is_unused = await self._send(number, Body(*buffer.views()))
        self._memory.close(buffer, is_unused=is_unused)
        return stored

    async def send(self, number: int, body: Body) -> StoredPart:
        """Upload one part.

        Raises:
            StorageUnavailableError: the store failed, or has not verified the checksum.
        """
        return (await self._send(number, body))[0]

    async def _send(self, number: int, body: Body) -> tuple[StoredPart, bool]:
        """Upload one part; also return whether no connection has any of its bytes left to send."""
        client, operation = self._client, "upload_part"
        crc32 = await body.crc32() if self.upload.checks_crc32 else None
        suffices = client.crc32.suffices(operation, crc32)
        checksums: dict[str, Any] = {} if crc32 is None else {"ChecksumCRC32": crc32}
        if not suffices:
            checksums["ContentMD5"] = client.dialect.part_md5(await body.md5())
        answer = await client.call(
            operation,
            key=self._key,
            Body=body,
            PartNumber=number,
            UploadId=self.upload.id,
            transfer_bytes=len(body),
            **checksums,
        )
        client.crc32.learn(operation, crc32, answer, sufficed=suffices)
        return StoredPart(answer["ETag"], crc32), answer["Attempts"] == 1 and "IsRedirected" not in answer

    async def drop(self) -> None:
        """Cancel the parts in flight, before the upload is aborted."""
        for part in self._running:
            part.task.cancel()
        for part in self._running:
            await asyncio.wait([part.task])
        self.abandon()

    def abandon(self) -> None:
        """Cancel the parts in flight without waiting, and free their memory."""
        for part in self._running:
            part.task.cancel()
            self._memory.close(part.buffer)
        self._running.clear()


def _acknowledge(task: "asyncio.Task[StoredPart]") -> None:
    # Retrieve the exception, so that asyncio does not warn: `_settle_first` may never reach this part.
    if not task.cancelled():
        task.exception()
