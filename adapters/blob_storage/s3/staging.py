"""What is staged at a key, and how another replica finds it.

Staged bytes have one of two forms, and where both are found the first is the truth:

- A **plain object at the key itself** (`_uploads/<uuid>/data`), as distribution and the fork leave it: all bytes of
  an upload that fits the memory of one block, or a completed multipart upload that is not committed yet.
- A **multipart upload** of the key, and beside it the **record** `<key>.parts`: a line of JSON that names the upload
  and its parts, then the tail: the bytes that do not fill a part, because S3 refuses a middle part under 5 MiB.
  The record is written when a block ends and is the last word: parts that a killed process uploaded after it are
  uploaded again under the same numbers, which replaces them.

A record without an upload stands there *before* the upload is begun. So wherever an upload may be open, there is a
record in the listing that tells so, and removing a tree asks for open uploads only beside records.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Final

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.multipart import head_of, size_of
from adapters.blob_storage.s3.reader import open_object
from core.errors import ObjectNotFoundError, StorageCorruptError

RECORD_SUFFIX: Final = ".parts"
_RECORD_BYTES_MAX: Final = 1024 * 1024
"""Of the JSON line: 10,000 ETags of 34 characters fit."""


def record_key(key: str) -> str:
    """Return where the record of a multipart upload at `key` stands."""
    return key + RECORD_SUFFIX


@dataclass(frozen=True, slots=True)
class StagedRecord:
    """A multipart upload in progress; without an upload id it announces one."""

    upload_id: str = ""
    etags: tuple[str, ...] = ()
    parts_size: int = 0
    """Bytes in the parts."""
    tail: bytes | bytearray = b""

    @property
    def size(self) -> int:
        """Bytes that are staged."""
        return self.parts_size + len(self.tail)

    def header(self) -> bytes:
        """Return what stands before the tail."""
        fields = {"upload": self.upload_id, "etags": self.etags, "size": self.parts_size}
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes, key: str) -> "StagedRecord":
        """Read a record.

        Raises:
            StorageCorruptError: it is none.
        """
        line, newline, tail = content.partition(b"\n")
        try:
            fields = json.loads(line[:_RECORD_BYTES_MAX])
            record = cls(str(fields["upload"]), tuple(map(str, fields["etags"])), int(fields["size"]), tail)
        except (ValueError, TypeError, KeyError) as error:
            raise StorageCorruptError(f"not a record of an upload: {key}") from error
        if not newline:
            raise StorageCorruptError(f"not a record of an upload: {key}")
        return record


class Form(Enum):
    """How the bytes are staged."""

    NOTHING = "nothing"
    PLAIN = "plain"
    PARTS = "parts"


@dataclass(frozen=True, slots=True)
class Staged:
    """What was found at a key."""

    form: Form = Form.NOTHING
    size: int = 0
    content: bytes | None = None
    """The bytes of a plain object that fits into memory."""
    record: StagedRecord | None = None
    stamp: str | None = None
    """The ETag of the object, or of the record."""


async def find_staged(client: StoreClient, key: str, *, keep_bytes_max: int, is_long: bool) -> Staged:
    """Look what is staged at `key`: one request for a plain object, two for anything else.

    Args:
        client: the open store.
        key: where to look.
        keep_bytes_max: a plain object up to this size comes with its bytes, which saves the request that reads them.
        is_long: a longer one is expected, so ask for its size only: hanging up on a body costs the connection.
    """
    if is_long:
        size, etag = await head_of(client, key)
        if size is not None and size > keep_bytes_max:
            return Staged(Form.PLAIN, size, stamp=etag)
    try:
        async with open_object(client, key) as reader:
            if reader.size > keep_bytes_max:
                return Staged(Form.PLAIN, reader.size, stamp=reader.etag)
            content = b"".join([piece async for piece in reader])
            return Staged(Form.PLAIN, reader.size, content, stamp=reader.etag)
    except ObjectNotFoundError:
        record, etag = await _find_record(client, key)
    if record is None:
        return Staged()
    return Staged(Form.PARTS, record.size, record=record, stamp=etag)


async def staged_size(client: StoreClient, key: str) -> int:
    """Return how many bytes are staged: one request for a plain object, two for anything else."""
    plain = await size_of(client, key)
    if plain is not None:
        return plain
    record = await read_record(client, key)
    return record.size if record else 0


async def read_record(client: StoreClient, key: str) -> StagedRecord | None:
    """Return the record beside `key`, or None where there is none. One request."""
    return (await _find_record(client, key))[0]


async def _find_record(client: StoreClient, key: str) -> tuple[StagedRecord | None, str | None]:
    try:
        async with open_object(client, record_key(key)) as reader:
            # Its length is bounded by the part size of whoever wrote it.
            content = b"".join([piece async for piece in reader])
            return StagedRecord.parse(content, record_key(key)), reader.etag
    except ObjectNotFoundError:
        return None, None
