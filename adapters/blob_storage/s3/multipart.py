"""Multipart uploads: begin, complete despite lost answers, abort, and list unfinished ones."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from adapters.blob_storage.s3.capabilities import Capability
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.errors import NotOfferedError, RefusedError, UploadGoneError
from core.errors import ObjectNotFoundError, StorageUnavailableError

logger = logging.getLogger(__name__)

PARTS_MAX: Final = 10_000
CONTENT_TYPE: Final = "application/octet-stream"


class NewUpload(NamedTuple):
    """A multipart upload that this registry began."""

    id: str
    checks_crc32: bool = False
    """Whether the upload was begun with CRC32 checksums: then each part needs one, and so does the completion."""


class StoredPart(NamedTuple):
    """A part that the store has."""

    etag: str
    crc32: str | None = None


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that is neither completed nor aborted."""

    store_key: str
    """The key in the bucket."""
    upload_id: str
    begun_at: datetime | None
    """The start by the store's clock; None if the store does not report it."""


def object_parameters(client: StoreClient) -> dict[str, Any]:
    """Return the parameters with which every new object is stored."""
    options = client.options
    parameters: dict[str, Any] = {"ContentType": CONTENT_TYPE}
    if options.storage_class:
        parameters["StorageClass"] = options.storage_class
    if options.object_acl:
        parameters["ACL"] = options.object_acl
    if options.encrypt:
        parameters["ServerSideEncryption"] = "aws:kms" if options.key_id else "AES256"
    if options.encrypt and options.key_id:
        parameters["SSEKMSKeyId"] = options.key_id
    return parameters


async def begin_upload(client: StoreClient, key: str, *, sends_parts: bool = False) -> NewUpload:
    """Begin a multipart upload at `key`; abort the uploads of attempts whose answer was lost.

    Args:
        client: the open store.
        key: the key of the object.
        sends_parts: whether bytes will be sent, whose checksum the store may verify.
    """
    parameters = object_parameters(client)
    wants_crc32 = sends_parts and client.crc32.may_have("upload_part")
    if wants_crc32:
        parameters["ChecksumAlgorithm"] = "CRC32"
    try:
        answer = await client.call("create_multipart_upload", key=key, **parameters)
    except NotOfferedError:
        if not wants_crc32:
            raise
        client.crc32.lacks("upload_part")
        return await begin_upload(client, key)
    upload = NewUpload(answer["UploadId"], wants_crc32 and answer.get("ChecksumAlgorithm") == "CRC32")
    if wants_crc32 and not upload.checks_crc32:
        client.crc32.lacks("upload_part")
    if answer["Attempts"] > 1:
        await abort_uploads(client, key, keep=upload.id)
    return upload


async def complete_upload(
    client: StoreClient, key: str, upload_id: str, stored: Sequence[StoredPart], size: int
) -> None:
    """Assemble the parts into the object at `key`, of `size` bytes.

    A store may complete an upload and lose the answer; then a retry fails because the upload no longer exists. So after
    each failure the size of the object decides.

    Raises:
        StorageUnavailableError: the object does not exist, or has another size.
    """
    parts = [
        {"PartNumber": number, "ETag": part.etag} | ({} if part.crc32 is None else {"ChecksumCRC32": part.crc32})
        for number, part in enumerate(stored, 1)
    ]
    pauses = client.options.retry.pauses()
    retries_missing = "NoSuchUpload" in client.dialect.retry_codes
    while True:
        try:
            await client.call(
                "complete_multipart_upload",
                key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
                attempts=1,
            )
        except (StorageUnavailableError, ObjectNotFoundError) as error:
            if await size_of(client, key) == size:
                return
            pause = next(pauses, None)
            if pause is None or (isinstance(error, UploadGoneError) and not retries_missing):
                raise
            await asyncio.sleep(pause)
        else:
            return


async def abort_upload(client: StoreClient, store_key: str, upload_id: str) -> None:
    """Abort an upload at a key in the bucket and drop its parts; a missing upload is not an error."""
    try:
        await client.call(
            "abort_multipart_upload", Key=store_key, UploadId=upload_id, final=frozenset({"NoSuchUpload"})
        )
    except UploadGoneError:
        return


async def abort_uploads(client: StoreClient, key: str, *, keep: str = "") -> None:
    """Abort all uploads at `key` except `keep`. One request, and one for each upload found."""
    store_key = client.store_key(key)
    async for upload in list_uploads(client, store_key):
        if upload.store_key == store_key and upload.upload_id != keep:
            await abort_upload(client, store_key, upload.upload_id)


async def list_uploads(client: StoreClient, store_prefix: str) -> AsyncGenerator[OpenUpload, None]:
    """Yield each open upload at a key with this prefix; none if the store cannot list them. One request per 1,000.

    Raises:
        StorageUnavailableError: the store failed, or its next page would be this one again.
    """
    markers: dict[str, Any] = {}
    while client.capabilities.has(Capability.UPLOAD_LISTING):
        try:
            answer = await client.call("list_multipart_uploads", Prefix=store_prefix, **markers)
        except NotOfferedError as refusal:
            client.capabilities.lacks(Capability.UPLOAD_LISTING, refusal)
            return
        except RefusedError as error:
            # The credentials may lack this permission until it is granted. Records still identify this registry's
            # uploads.
            logger.warning("cannot list multipart uploads: %s", error)
            return
        for upload in answer.get("Uploads", []):
            yield OpenUpload(upload["Key"], upload["UploadId"], upload.get("Initiated"))
        # A store without this listing may answer with a listing of objects.
        if not answer.get("IsTruncated") or "NextKeyMarker" not in answer:
            return
        following = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer.get("NextUploadIdMarker", "")}
        if following == markers:
            raise StorageUnavailableError(f"{client.dialect.name}: list_multipart_uploads: the listing does not go on")
        markers = following


async def size_of(client: StoreClient, key: str) -> int | None:
    """Return the size of the object at `key`, or None if there is none."""
    return (await head_of(client, key))[0]


async def head_of(client: StoreClient, key: str) -> tuple[int | None, str | None]:
    """Return the size and the ETag of the object at `key`, both None if there is none."""
    try:
        head = await client.call("head_object", key=key)
    except ObjectNotFoundError:
        return None, None
    return int(head["ContentLength"]), head.get("ETag")
