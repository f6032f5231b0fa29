"""Streams of objects from the store, resumed after broken connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp
from typing_extensions import override

from adapters.blob_storage.s3.client import StoreClient
from adapters.blob_storage.s3.piping import PIPED_BYTES_MIN, PipedBody, can_pipe
from core.errors import ObjectNotFoundError, RangeInvalidError, StorageUnavailableError
from core.ports.blob_storage import BlobReader

T = TypeVar("T")

_PIECE_BYTES_MAX: Final = 1024 * 1024
_PARTIAL_CONTENT: Final = 206
_STREAM_ERRORS: Final = (aiohttp.ClientError, OSError)


class ObjectReader(BlobReader):
    """An object's bytes from `offset` on; after a broken connection the rest is requested from the store."""

    def __init__(
        self, client: StoreClient, key: str, response: dict[str, Any], offset: int, length: int | None
    ) -> None:
        self._client = client
        self._key = key
        self._response = response
        self.offset = offset
        self.size = _whole_size(response)
        self.length = max(0, min(self.size - offset, self.size if length is None else length))
        self.version = response.get("ETag")
        self._position = offset
        self._end = offset + self.length
        self._pauses = client.options.retry.pauses()
        self._piped: PipedBody | None = None
        if self.length >= PIPED_BYTES_MIN and can_pipe(response["Body"]):
            self.fill_pipe = self._fill_pipe

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._advance(self._read, len):
            yield piece

    async def _read(self, wanted: int) -> bytes:
        piece: bytes = await self._response["Body"].content.read(min(wanted, _PIECE_BYTES_MAX))
        return piece

    async def _fill_pipe(self, pipe: int, wanted: int) -> int:
        async def fill(left: int) -> int:
            if self._piped is None:
                patience_seconds = self._client.options.retry.read_seconds
                self._piped = PipedBody(self._response["Body"], patience_seconds=patience_seconds)
            return await self._piped.fill(pipe, min(wanted, left))

        return await self._advance(fill, int) or 0

    async def _advance(self, take: Callable[[int], Awaitable[T]], size_of: Callable[[T], int]) -> T | None:
        """Take the next bytes from the open body, or from the rest of it that is requested; None at the end."""
        while self._position < self._end:
            problem = "ended early"
            try:
                taken = await take(self._end - self._position)
                if size := size_of(taken):
                    self._position += size
                    return taken
            except _STREAM_ERRORS as error:
                problem = type(error).__name__
            await self._go_on(problem)
        return None

    async def _go_on(self, problem: str) -> None:
        """Open the rest of a body that ended early."""
        self.close()
        driver = self._client.dialect.name
        pause = next(self._pauses, None)
        if pause is None:
            raise StorageUnavailableError(f"{driver}: get_object: the response broke off in every attempt ({problem})")
        await asyncio.sleep(pause)
        left = self._end - self._position
        try:
            self._response = await open_body(self._client, self._key, self._position, left)
        except (ObjectNotFoundError, RangeInvalidError) as error:
            raise StorageUnavailableError(f"{driver}: get_object: the object was removed during the read") from error
        if self._response.get("ETag") != self.version:
            raise StorageUnavailableError(f"{driver}: get_object: the object was replaced during the read")

    def close(self) -> None:
        """Return the connection to the pool, or close it if the body is not read to its end."""
        if self._piped is not None:
            self._piped.close()
            self._piped = None
        self._response["Body"].close()


@asynccontextmanager
async def open_object(
    client: StoreClient, key: str, *, offset: int = 0, length: int | None = None
) -> AsyncIterator[ObjectReader]:
    """Open an object: one request, and a second one only for an empty range, which HTTP cannot express.

    Raises:
        ObjectNotFoundError: nothing is there.
        RangeInvalidError: `offset` is greater than the size.
    """
    reader = await _open(client, key, offset, length)
    try:
        yield reader
    finally:
        reader.close()


async def _open(client: StoreClient, key: str, offset: int, length: int | None) -> ObjectReader:
    if length != 0:
        try:
            response = await open_body(client, key, offset, length)
            return ObjectReader(client, key, response, offset, length)
        except RangeInvalidError:
            # The range begins at the end of the object, which is an empty read, or beyond it.
            pass
    response = await client.call("head_object", key=key)
    size = int(response["ContentLength"])
    if offset > size:
        raise RangeInvalidError(size)
    return ObjectReader(client, key, {**response, "Body": _NoBody()}, offset, 0)


async def open_body(client: StoreClient, key: str, offset: int, length: int | None) -> dict[str, Any]:
    """Request a range; for the whole object send no `Range`, so that any store answers 200."""
    if offset == 0 and length is None:
        return await client.call("get_object", key=key)
    last = "" if length is None else str(offset + length - 1)
    response = await client.call("get_object", key=key, Range=f"bytes={offset}-{last}")
    is_range = response["ResponseMetadata"]["HTTPStatusCode"] == _PARTIAL_CONTENT
    # A 200 with the whole object is acceptable only from the first byte on; a 206 must have a `Content-Range`.
    if is_range == ("ContentRange" in response) and (is_range or not offset):
        return response
    response["Body"].close()
    size = -1 if is_range else int(response["ContentLength"])
    # OSS returns the whole object for a range that begins or ends outside of it.
    if 0 <= size <= offset:
        raise RangeInvalidError(size)
    if length is not None and offset < size < offset + length:
        return await open_body(client, key, offset, size - offset)
    raise StorageUnavailableError(f"{client.dialect.name}: get_object: the store did not return the requested range")


def _whole_size(response: dict[str, Any]) -> int:
    """Return the size of the whole object from a response for all or part of it."""
    total = str(response.get("ContentRange", "")).rpartition("/")[2]
    return int(total) if total.isdigit() else int(response["ContentLength"])


class _NoBody:
    """The body of an empty range."""

    def close(self) -> None:
        """Do nothing."""
