"""The staged content of a key, and its form in the store, in which another replica finds it.

Staged bytes have one of two forms; if both are found, the first one counts:

- A **plain object at the key itself** (`_uploads/<uuid>/data`), as distribution and the fork store it: all bytes of an
  upload that fits into the memory of one block, or a completed multipart upload that is not committed yet.
- A **multipart upload** of the key, with a **record** `<key>.parts` beside it: a line of JSON with the upload id and
  the parts, then the tail: the bytes that do not fill a part, because S3 rejects a middle part under 5 MiB. The record
  is written when a block ends and is authoritative: parts that a killed process uploaded after that are uploaded again
  under the same numbers, which replaces them.

A record without an upload id is written *before* the upload is begun. So wherever an upload may be open, the listing
contains a record, and removing a tree searches for open uploads only beside records.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.multipart import NewUpload, StoredPart, head_of, size_of
from adapters.blob_storage.s3.reader import ObjectReader, open_object
from core.errors import ObjectNotFoundError, StorageCorruptError

RECORD_SUFFIX: Final = ".parts"
_ABOUT_TO_BEGIN: Final = NewUpload("")
_RECORD_BYTES_MAX: Final = 1024 * 1024
"""The limit for the JSON line: 10,000 ETags of 34 characters and their checksums fit."""


def record_key(key: str) -> str:
    """Return the key of the record of a multipart upload at `key`."""
    return key + RECORD_SUFFIX


@dataclass(frozen=True, slots=True)
class StagedRecord:
    """A multipart upload in progress; without an upload id, one that is about to begin."""

    upload: NewUpload = _ABOUT_TO_BEGIN
    parts: tuple[StoredPart, ...] = ()
    parts_size: int = 0
    """The number of bytes in the parts."""

    def header(self) -> bytes:
        """Return the serialized record without the tail."""
        fields = {
            "upload": self.upload.id,
            "etags": [part.etag for part in self.parts],
            "size": self.parts_size,
            **({"crc32": [part.crc32 for part in self.parts]} if self.upload.checks_crc32 else {}),
        }
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes, key: str) -> "StagedRecord":
        """Parse the line of JSON at the beginning of a record.

        Raises:
            StorageCorruptError: it is not a record.
        """
        try:
            fields = json.loads(line)
            etags, crc32s = fields["etags"], fields.get("crc32")
            checksums = [None] * len(etags) if crc32s is None else map(str, crc32s)
            parts = tuple(StoredPart(str(etag), crc32) for etag, crc32 in zip(etags, checksums, strict=True))
            return cls(NewUpload(str(fields["upload"]), crc32s is not None), parts, int(fields["size"]))
        except (ValueError, TypeError, KeyError) as error:
            raise StorageCorruptError(f"invalid upload record: {key}") from error


class Form(Enum):
    """The form of staged bytes."""

    NOTHING = "nothing"
    PLAIN = "plain"
    PARTS = "parts"


@dataclass(frozen=True, slots=True)
class Staged:
    """The content found at a staged key, while its object is open."""

    form: Form = Form.NOTHING
    size: int = 0
    content: AsyncIterator[bytes] | None = None
    """The bytes of a plain object that fits into a part, or the tail beside the parts."""
    record: StagedRecord | None = None
    stamp: str | None = None
    """The ETag of the object, or of the record."""


@asynccontextmanager
async def open_staged(client: StoreClient, key: str, *, keep_bytes_max: int, is_long: bool) -> AsyncIterator[Staged]:
    """Find the bytes staged at `key`: one request for a plain object, two for anything else.

    Args:
        client: the open store.
        key: the staged key.
        keep_bytes_max: a plain object up to this size is opened, which saves a request to read it.
        is_long: whether a longer object is expected. Then the size is requested first, because aborting a download
            costs the connection.
    """
    if is_long:
        size, etag = await head_of(client, key)
        if size is not None and size > keep_bytes_max:
            yield Staged(Form.PLAIN, size, stamp=etag)
            return
    async with AsyncExitStack() as stack:
        reader = await _enter(stack, client, key)
        if reader is None:
            yield await _enter_record(stack, client, key)
        else:
            content = aiter(reader) if reader.size <= keep_bytes_max else None
            yield Staged(Form.PLAIN, reader.size, content, stamp=reader.version)


async def staged_size(client: StoreClient, key: str) -> int:
    """Return the number of staged bytes: one request for a plain object, two for anything else."""
    plain = await size_of(client, key)
    if plain is not None:
        return plain
    async with _open_record(client, key) as staged:
        return staged.size


async def read_record(client: StoreClient, key: str) -> StagedRecord | None:
    """Return the record beside `key`, or None if there is none. One request."""
    async with _open_record(client, key) as staged:
        return staged.record


@asynccontextmanager
async def _open_record(client: StoreClient, key: str) -> AsyncIterator[Staged]:
    async with AsyncExitStack() as stack:
        staged = await _enter_record(stack, client, key)
        yield staged
        # The connection can only be used again if the answer is read to its end; its bytes are not kept.
        if staged.content is not None:
            async for _ in staged.content:
                pass


async def _enter_record(stack: AsyncExitStack, client: StoreClient, key: str) -> Staged:
    reader = await _enter(stack, client, record_key(key))
    if reader is None:
        return Staged()
    pieces = await stack.enter_async_context(aclosing(_pieces(reader)))
    begun = bytearray()
    while b"\n" not in begun and len(begun) <= _RECORD_BYTES_MAX and (piece := await anext(pieces, b"")):
        begun += piece
    line, newline, tail = bytes(begun).partition(b"\n")
    if not newline or len(line) > _RECORD_BYTES_MAX:
        raise StorageCorruptError(f"invalid upload record: {record_key(key)}")
    record = StagedRecord.parse(line, record_key(key))
    size = record.parts_size + reader.size - len(line) - 1
    return Staged(Form.PARTS, size, _joined(tail, pieces), record, reader.version)


async def _enter(stack: AsyncExitStack, client: StoreClient, key: str) -> ObjectReader | None:
    try:
        return await stack.enter_async_context(open_object(client, key))
    except ObjectNotFoundError:
        return None


async def _pieces(reader: ObjectReader) -> AsyncGenerator[bytes, None]:
    async for piece in reader:
        yield piece


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
