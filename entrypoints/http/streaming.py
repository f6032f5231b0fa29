"""Bytes in and out, piece by piece, with back-pressure and bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from core.errors import ManifestTooLargeError
from core.ports.blob_storage import BlobReader

READ_BUFFER_BYTES: Final = 512 * 1024
"""How much of a body waits in memory per connection while earlier bytes are hashed and written."""


class ClientGoneError(Exception):
    """The client closed the connection in the middle of its request."""


async def body_chunks(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """Yield the request's body as it arrives; while one piece is taken in, the next gathers in the buffer.

    Raises:
        ClientGoneError: the connection ended before the body did; all that arrived was yielded before.
    """
    content = request.content
    try:
        async for chunk in content.iter_any():
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
    if reader.file is not None and reader.length:
        # The kernel copies from the page cache to the socket; over TLS asyncio copies in pieces of its own.
        writer.send_headers()
        await asyncio.get_running_loop().sendfile(transport, reader.file, reader.offset, reader.length)
    else:
        async for chunk in reader:
            await response.write(chunk)
    await response.write_eof()
