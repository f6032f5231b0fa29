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
from dataclasses import dataclass
from enum import Enum
from typing import Final

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.multipart import NewUpload, StoredPart, head_of, size_of
from adapters.blob_storage.s3.reader import open_object
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
    tail: bytes | bytearray = b""

    @property
    def size(self) -> int:
        """The number of staged bytes, in the parts and the tail."""
        return self.parts_size + len(self.tail)

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
    def parse(cls, content: bytes, key: str) -> "StagedRecord":
        """Parse a record.

        Raises:
            StorageCorruptError: `content` is not a record.
        """
        line, newline, tail = content.partition(b"\n")
        try:
            fields = json.loads(line[:_RECORD_BYTES_MAX])
            etags, crc32s = fields["etags"], fields.get("crc32")
            checksums = [None] * len(etags) if crc32s is None else map(str, crc32s)
            parts = tuple(StoredPart(str(etag), crc32) for etag, crc32 in zip(etags, checksums, strict=True))
            upload = NewUpload(str(fields["upload"]), crc32s is not None)
            record = cls(upload, parts, int(fields["size"]), tail)
        except (ValueError, TypeError, KeyError) as error:
            raise StorageCorruptError(f"invalid upload record: {key}") from error
        if not newline:
            raise StorageCorruptError(f"invalid upload record: {key}")
        return record


class Form(Enum):
    """The form of staged bytes."""

    NOTHING = "nothing"
    PLAIN = "plain"
    PARTS = "parts"


@dataclass(frozen=True, slots=True)
class Staged:
    """The content found at a staged key."""

    form: Form = Form.NOTHING
    size: int = 0
    content: bytes | None = None
    """The bytes of a plain object that fits into memory."""
    record: StagedRecord | None = None
    stamp: str | None = None
    """The ETag of the object, or of the record."""


async def find_staged(client: StoreClient, key: str, *, keep_bytes_max: int, is_long: bool) -> Staged:
    """Find the bytes staged at `key`: one request for a plain object, two for anything else.

    Args:
        client: the open store.
        key: the staged key.
        keep_bytes_max: a plain object up to this size is returned with its bytes, which saves a request to read them.
        is_long: whether a longer object is expected. Then the size is requested first, because aborting a download
            costs the connection.
    """
    if is_long:
        size, etag = await head_of(client, key)
        if size is not None and size > keep_bytes_max:
            return Staged(Form.PLAIN, size, stamp=etag)
    try:
        async with open_object(client, key) as reader:
            if reader.size > keep_bytes_max:
                return Staged(Form.PLAIN, reader.size, stamp=reader.version)
            content = b"".join([piece async for piece in reader])
            return Staged(Form.PLAIN, reader.size, content, stamp=reader.version)
    except ObjectNotFoundError:
        record, etag = await _find_record(client, key)
    if record is None:
        return Staged()
    return Staged(Form.PARTS, record.size, record=record, stamp=etag)


async def staged_size(client: StoreClient, key: str) -> int:
    """Return the number of staged bytes: one request for a plain object, two for anything else."""
    plain = await size_of(client, key)
    if plain is not None:
        return plain
    record = await read_record(client, key)
    return record.size if record else 0


async def read_record(client: StoreClient, key: str) -> StagedRecord | None:
    """Return the record beside `key`, or None if there is none. One request."""
    return (await _find_record(client, key))[0]


async def _find_record(client: StoreClient, key: str) -> tuple[StagedRecord | None, str | None]:
    try:
        async with open_object(client, record_key(key)) as reader:
            # The length is bounded by the part size of the process that wrote the record.
            content = b"".join([piece async for piece in reader])
            return StagedRecord.parse(content, record_key(key)), reader.version
    except ObjectNotFoundError:
        return None, None
