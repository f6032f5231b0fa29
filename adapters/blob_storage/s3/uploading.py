"""Bytes on their way into the store: whole objects, and parts side by side."""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from adapters.blob_storage.s3.body import Body, Buffer
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.dialect import md5_base64
from adapters.blob_storage.s3.listing import plain_md5
from adapters.blob_storage.s3.multipart import PARTS_MAX, object_parameters
from core.errors import StorageUnavailableError


class Stored(NamedTuple):
    """What a store tells of an object that it took."""

    etag: str | None
    etag_is_md5: bool | None
    """Whether it turned out to be the MD5; None where it cannot be one."""


async def put_object(client: StoreClient, key: str, body: Body, *, if_absent: bool = False) -> Stored:
    """Store a whole object in one request.

    Raises:
        AlreadyThereError: something is there, and it was to be stored only where nothing is.
        StorageUnavailableError: the store failed, or tells an MD5 of something else.
    """
    digest = await body.md5()
    parameters = object_parameters(client)
    if client.dialect.checks_object_md5:
        parameters["ContentMD5"] = md5_base64(digest)
    if if_absent:
        parameters["IfNoneMatch"] = "*"
    answer = await client.call("put_object", key=key, Body=body, transfer_bytes=len(body), **parameters)
    etag = answer.get("ETag")
    told = plain_md5(etag)
    if told is None:
        return Stored(etag, None)
    if told != digest.hex() and client.dialect.etag_is_md5:
        raise StorageUnavailableError(f"{client.dialect.name}: put_object: the object arrived damaged")
    return Stored(etag, told == digest.hex())


@dataclass(frozen=True, slots=True)
class _Part:
    body: Body
    task: "asyncio.Task[str]"


class PartsInFlight:
    """The parts of one multipart upload, uploaded in the background, a bounded number at once.

    Used by one task. A part that failed for good keeps its bytes, and is sent again when all are waited for.
    """

    def __init__(self, client: StoreClient, key: str, upload_id: str, etags: tuple[str, ...], size: int) -> None:
        self._client = client
        self._key = key
        self.upload_id = upload_id
        self.etags = list(etags)
        """Of the parts that have arrived, without a gap."""
        self.size = size
        """Bytes of these parts."""
        self._running: list[_Part] = []

    @property
    def size_with_running(self) -> int:
        """Bytes of all parts, those on their way included."""
        return self.size + sum(len(part.body) for part in self._running)

    async def add(self, buffer: Buffer) -> None:
        """Begin to upload a part; wait first while as many as may be are on their way.

        Raises:
            StorageUnavailableError: an earlier part failed, or the upload has all the parts there can be.
        """
        if len(self._running) >= self._client.options.parts_in_flight:
            await self._settle_first()
        number = len(self.etags) + len(self._running) + 1
        if number > PARTS_MAX:
            driver = self._client.dialect.name
            raise StorageUnavailableError(f"{driver}: more than {PARTS_MAX} parts: raise storage.{driver}.chunksize")
        body = Body(buffer)
        task = asyncio.create_task(self.upload(number, body))
        task.add_done_callback(_acknowledge)
        self._running.append(_Part(body, task))

    async def settle(self) -> None:
        """Wait until all parts have arrived, and send those again that did not.

        Raises:
            StorageUnavailableError: one did not arrive this time either; those before it count.
        """
        while self._running:
            await self._settle_first()

    async def _settle_first(self) -> None:
        part = self._running[0]
        await asyncio.wait([part.task])
        if part.task.cancelled() or part.task.exception() is not None:
            etag = await self.upload(len(self.etags) + 1, part.body)
        else:
            etag = part.task.result()
        del self._running[0]
        self.etags.append(etag)
        self.size += len(part.body)

    async def upload(self, number: int, body: Body) -> str:
        """Upload one part and return its ETag."""
        digest = await body.md5()
        answer = await self._client.call(
            "upload_part",
            key=self._key,
            Body=body,
            PartNumber=number,
            UploadId=self.upload_id,
            ContentMD5=self._client.dialect.part_md5(digest),
            transfer_bytes=len(body),
        )
        etag: str = answer["ETag"]
        return etag

    async def drop(self) -> None:
        """Stop what is on its way, to abort the upload."""
        for part in self._running:
            part.task.cancel()
        for part in self._running:
            await asyncio.wait([part.task])
        self._running.clear()


def _acknowledge(task: "asyncio.Task[str]") -> None:
    # A part's error is looked at when its turn comes, or never, if the upload is dropped before.
    if not task.cancelled():
        task.exception()
