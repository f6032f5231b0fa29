"""Moves and copies of objects inside the store, without a transfer of their bytes through this process."""

from typing import Final

from adapters.blob_storage.s3.capabilities import Capability
from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.errors import NotOfferedError, RefusedError
from adapters.blob_storage.s3.multipart import (
    StoredPart,
    abort_upload,
    begin_upload,
    complete_upload,
    object_parameters,
    size_of,
)
from adapters.blob_storage.s3.removal import delete_object
from core.concurrency import map_bounded
from core.errors import ObjectNotFoundError, StorageUnavailableError

_COPY_BYTES_MAX: Final = 5 * 1024**3
"""S3's limit for a copy in one request."""


class Mover:
    """Moves objects with the store's rename if that works, else by copying and deleting."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._renames = client.dialect.rename_parameter is not None
        self._rename_is_proven = False

    async def move(self, source: str, target: str, size: int) -> None:
        """Move an object of `size` bytes; the object is complete at `target` before it is removed from `source`.

        Raises:
            ObjectNotFoundError: nothing is at `source`.
            StorageUnavailableError: the store failed; after a destructive rename the message says that `source` is
                lost.
        """
        if self._renames and await self._rename(source, target, size):
            return
        await self.copy(source, target, size)
        await delete_object(self._client, self._client.store_key(source))

    async def _rename(self, source: str, target: str, size: int) -> bool:
        """Try the store's own rename; return False if the object is still at `source` and must be copied."""
        client = self._client
        query = ((client.dialect.rename_parameter or "", client.store_key(target)),)
        refusal: Exception | None = None
        try:
            await client.call("put_object", key=source, query=query)
        except (StorageUnavailableError, ObjectNotFoundError) as error:
            refusal = error
        # The answer proves nothing: a store that does not support the parameter treats the request as a write of an
        # empty object at the old key, and after a lost answer the retried rename finds no source.
        arrived = await size_of(client, target) == size
        if arrived and refusal is None and self._rename_is_proven:
            return True
        left = await size_of(client, source)
        if left is None:
            if not arrived:
                raise refusal or ObjectNotFoundError(source)
            self._rename_is_proven = True
            return True
        if refusal is None or isinstance(refusal, RefusedError):
            self._renames = False
        if left == size:
            return False
        raise StorageUnavailableError(
            f"{client.dialect.name}: the store treated a rename as a write and lost {source}; upload it again"
        ) from refusal

    async def copy(self, source: str, target: str, size: int) -> None:
        """Copy an object of `size` bytes inside the store, and verify the size of the copy.

        Raises:
            ObjectNotFoundError: nothing is at `source`.
            StorageUnavailableError: the store failed.
        """
        try:
            if self._goes_in_parts(size):
                await self._copy_in_parts_or_one(source, target, size)
            else:
                await self._copy_in_one(source, target, size)
        except ObjectNotFoundError:
            # The request was for `target`, so the error names the wrong key.
            raise ObjectNotFoundError(source) from None
        if await size_of(self._client, target) != size:
            raise StorageUnavailableError(f"{self._client.dialect.name}: the copy {target} has the wrong size")

    def _goes_in_parts(self, size: int) -> bool:
        client = self._client
        in_one_max = min(client.options.multipart_copy_threshold_bytes, _COPY_BYTES_MAX)
        copies_parts = client.dialect.copies_in_parts and client.capabilities.has(Capability.PART_COPY)
        return size > in_one_max and copies_parts

    async def _copy_in_parts_or_one(self, source: str, target: str, size: int) -> None:
        try:
            await self._copy_in_parts(source, target, size)
        except NotOfferedError as refusal:
            await self._copy_in_one(source, target, size)
            self._client.capabilities.lacks(Capability.PART_COPY, refusal)

    async def _copy_in_one(self, source: str, target: str, size: int) -> None:
        parameters = object_parameters(self._client)
        # A copy keeps the content type of its source.
        del parameters["ContentType"]
        await self._client.call(
            "copy_object", key=target, transfer_bytes=size, CopySource=self._source(source), **parameters
        )

    async def _copy_in_parts(self, source: str, target: str, size: int) -> None:
        client, options = self._client, self._client.options
        upload_id = (await begin_upload(client, target)).id
        step = options.multipart_copy_chunk_bytes
        ranges = [(start, min(start + step, size) - 1) for start in range(0, size, step)]

        async def copy_part(part: tuple[int, tuple[int, int]]) -> StoredPart:
            number, (first, last) = part
            answer = await client.call(
                "upload_part_copy",
                key=target,
                transfer_bytes=step,
                PartNumber=number,
                CopySourceRange=f"bytes={first}-{last}",
                UploadId=upload_id,
                CopySource=self._source(source),
            )
            return StoredPart(answer["CopyPartResult"]["ETag"])

        try:
            stored = await map_bounded(copy_part, enumerate(ranges, 1), at_once=options.multipart_copy_concurrency_max)
            await complete_upload(client, target, upload_id, stored, size)
        except BaseException:
            await abort_upload(client, client.store_key(target), upload_id)
            raise

    def _source(self, key: str) -> dict[str, str]:
        return {"Bucket": self._client.options.bucket, "Key": self._client.store_key(key)}
