"""The body of a response, moved from the store's socket to a pipe by the kernel.

The HTTP client copies each byte several times and wakes the event loop for each 256 KiB. The kernel passes on the pages
that it received: a pull of 64 MiB then costs less than half of the processor time (`tests.benchmarks.object_store`).
"""

import asyncio
import os
from typing import Final

import aiohttp

PIPED_BYTES_MIN: Final = 1024 * 1024
"""Minimum size; the HTTP client has received most of a smaller body before a pipe is ready."""
_COPIED_BYTES_MAX: Final = 256 * 1024
"""Maximum number of bytes taken from the HTTP client at once, if the socket cannot be used."""


def can_pipe(response: aiohttp.ClientResponse) -> bool:
    """Whether the bytes on the wire are those of the body (no TLS, no chunks), and some are still to come."""
    connection = response.connection
    transport = None if connection is None else connection.transport
    return (
        hasattr(os, "splice")
        and transport is not None
        and not transport.is_closing()
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
        and "Transfer-Encoding" not in response.headers
        and response.headers.get("Content-Length", "").isdigit()
    )


class PipedBody:
    """The body of an open response, which has no other reader.

    Args:
        response: response whose head has been read.
        patience_seconds: longest wait for data.
    """

    def __init__(self, response: aiohttp.ClientResponse, *, patience_seconds: float) -> None:
        self._response = response
        self._patience_seconds = patience_seconds
        self._arrived = memoryview(b"")
        """Bytes that the HTTP client has received."""
        self._socket: int | None = None
        """Duplicate of the connection's descriptor, while the HTTP client does not read from it."""
        self._left = 0
        """Bytes of the body that are still to be taken from the socket."""

    async def fill(self, pipe: int, wanted: int) -> int:
        """Move at most `wanted` bytes to an empty, non-blocking pipe, and return their number; 0 at the end.

        Raises:
            aiohttp.ClientError: the connection broke.
            OSError: the connection broke, or no data arrived in time.
        """
        if not self._arrived and self._socket is None:
            self._take_over()
        if not self._arrived and self._socket is None:
            self._arrived = memoryview(await self._response.content.read(_COPIED_BYTES_MAX))
        if self._arrived:
            moved = os.write(pipe, self._arrived[:wanted])
            self._arrived = self._arrived[moved:]
            return moved
        if self._socket is None or not self._left:
            return 0
        moved = await self._splice(self._socket, pipe, min(wanted, self._left))
        self._left -= moved
        if not self._left:
            # The connection returns to the pool, which reads from the socket again; each request has a new parser.
            self._response.content.feed_eof()
        return moved

    def _take_over(self) -> None:
        """Take the bytes that the HTTP client has received, and stop it from receiving more."""
        response = self._response
        if not can_pipe(response):
            return
        # Emptying the buffer lets the client parse what it held back, so more bytes may be buffered afterwards.
        self._arrived = memoryview(b"".join(iter(response.content.read_nowait, b"")))
        connection = response.connection
        if connection is None or connection.transport is None or connection.protocol is None:
            return
        self._socket = os.dup(connection.transport.get_extra_info("socket").fileno())
        self._left = int(response.headers["Content-Length"]) - response.content.total_bytes
        connection.protocol.pause_reading()

    async def _splice(self, source: int, pipe: int, wanted: int) -> int:
        while True:
            try:
                return os.splice(source, pipe, wanted, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
            except BlockingIOError:
                async with asyncio.timeout(self._patience_seconds):
                    await _readable(source)

    def close(self) -> None:
        """Release the descriptor. The connection is reused only if the body is complete."""
        if self._socket is not None:
            os.close(self._socket)
            self._socket = None
        self._response.close()


async def _readable(descriptor: int) -> None:
    """Wait until data has arrived or the connection has ended."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(descriptor, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(descriptor)
