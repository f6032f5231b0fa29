"""Bytes in and out, piece by piece, with back-pressure and bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestPayloadError

from config.settings import LimitSettings
from core.errors import BlobTooLargeError, ManifestTooLargeError
from core.ports.blob_storage import BlobReader
from entrypoints.http.keys import BODY_LIMITS

READ_BUFFER_BYTES: Final = 512 * 1024
"""How much of a body waits in memory per connection while earlier bytes are hashed and written."""


NO_LIMITS: Final = LimitSettings(body_seconds=0)


class ClientGoneError(Exception):
    """The body ended early: the client closed the connection, or broke the framing."""


class BodyStalledError(ClientGoneError):
    """The body came to a stand, or nearly so."""


class _Pace:
    """Waits for a body, and measures how long: only waiting counts, not what we do with the bytes meanwhile."""

    def __init__(self, limits: LimitSettings) -> None:
        self._seconds = limits.body_seconds
        self._rate = limits.body_rate
        self._clock = asyncio.get_running_loop().time
        self._waited_seconds = 0.0
        self._received = 0

    async def next_chunk(self, content: StreamReader) -> bytes:
        """Return what has arrived, waiting for it; nothing at the end of the body.

        Raises:
            BodyStalledError: nothing arrived for `body_seconds`, or too little over that time.
        """
        if not self._seconds:
            return await content.readany()
        begun = self._clock()
        try:
            async with asyncio.timeout(self._seconds):
                chunk = await content.readany()
        except TimeoutError:
            raise BodyStalledError("the body made no progress") from None
        self._waited_seconds += self._clock() - begun
        self._received += len(chunk)
        if self._waited_seconds >= self._seconds:
            if chunk and self._received < self._rate * self._waited_seconds:
                raise BodyStalledError("the body arrived too slowly")
            self._waited_seconds, self._received = 0.0, 0
        return chunk


async def body_chunks(request: web.BaseRequest, *, offset: int = 0) -> AsyncIterator[bytes]:
    """Yield the request's body as it arrives; while one piece is taken in, the next gathers in the buffer.

    Args:
        request: whose body is wanted.
        offset: how many bytes of the blob came before.

    Raises:
        ClientGoneError: the connection ended before the body did, or stalled; all that arrived was yielded before.
        BlobTooLargeError: the blob would be larger than `http.limits.uploadsize`.
    """
    content = request.content
    limits = request.get(BODY_LIMITS, NO_LIMITS)
    if limits.upload_bytes and offset + (request.content_length or 0) > limits.upload_bytes:
        raise BlobTooLargeError(limits.upload_bytes)
    pace = _Pace(limits)
    try:
        while chunk := await pace.next_chunk(content):
            offset += len(chunk)
            if limits.upload_bytes and offset > limits.upload_bytes:
                raise BlobTooLargeError(limits.upload_bytes)
            yield chunk
    except (RequestPayloadError, ConnectionError, asyncio.IncompleteReadError) as error:
        # aiohttp's public methods raise as soon as the connection is lost, with bytes still in the buffer.
        if rest := content._read_nowait(-1):  # noqa: SLF001
            yield rest
        raise ClientGoneError("the body ended early") from error


async def read_body(request: web.BaseRequest, *, limit: int) -> bytes:
    """Return a body of at most `limit` bytes.

    Raises:
        ManifestTooLargeError: it is longer; nothing beyond the limit was held.
        ClientGoneError: the connection ended before the body did.
    """
    if request.content_length is not None and request.content_length > limit:
        raise ManifestTooLargeError(limit)
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > limit:
            raise ManifestTooLargeError(limit)
    return bytes(body)


async def send_blob(request: web.BaseRequest, response: web.StreamResponse, reader: BlobReader) -> None:
    """Send what the reader holds as the body of `response`, whose `Content-Length` is set."""
    writer = await response.prepare(request)
    transport = request.transport
    if writer is None or transport is None:
        raise ClientGoneError("the connection was closed before the answer")
    is_plain = transport.get_extra_info("sslcontext") is None
    if reader.file is not None and reader.length and is_plain:
        # The kernel copies from the page cache to the socket. Over TLS asyncio would copy in pieces of 16 KiB, a thread
        # each, and would not notice a client that closed: it read the whole blob for nobody.
        writer.send_headers()
        await asyncio.get_running_loop().sendfile(transport, reader.file, reader.offset, reader.length)
    else:
        async for chunk in reader:
            await response.write(chunk)
            # Bytes that are in memory never wait, nor does a write to a connection that is gone: without a turn of the
            # loop nobody would be told that it is.
            await asyncio.sleep(0)
    await response.write_eof()
