"""Incoming request bodies, read in pieces with back-pressure and bounded memory."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Final, TypeGuard, TypeVar

from aiohttp import StreamReader, web
from typing_extensions import override

from config.settings import LimitSettings
from core.content_source import ContentSource
from core.errors import BlobTooLargeError, ManifestTooLargeError
from entrypoints.http.connection.receiving import CHUNKED_BYTES_MIN, DIRECT_BYTES_MIN, ChunkReceiver, SocketReceiver
from entrypoints.http.connection.socket_access import SocketLender, readable
from entrypoints.http.connection.tls_transport import session_of
from entrypoints.http.keys import BODY_LIMITS

T = TypeVar("T")

READ_BUFFER_BYTES: Final = 512 * 1024
"""Amount of a body buffered per connection while earlier bytes are hashed and written."""


_UNKNOWN_BYTES: Final = sys.maxsize
"""How much of a chunked body is left."""
NO_LIMITS: Final = LimitSettings(body_seconds=0)


class ClientGoneError(Exception):
    """The body ended early: the client closed the connection or violated the framing."""


class BodyStalledError(ClientGoneError):
    """The body arrives too slowly or not at all."""


class _Pace:
    """Measures the time spent waiting for a body; time spent on processing its bytes does not count."""

    def __init__(self, limits: LimitSettings) -> None:
        self._seconds = limits.body_seconds
        self._rate = limits.body_rate
        self._clock = asyncio.get_running_loop().time
        self._waited_seconds = 0.0
        self._received = 0

    async def wait(self, arrival: Awaitable[T]) -> T:
        """Wait for data.

        Raises:
            BodyStalledError: no data arrived for `body_seconds`.
        """
        if not self._seconds:
            return await arrival
        begun = self._clock()
        try:
            async with asyncio.timeout(self._seconds):
                return await arrival
        except TimeoutError:
            raise BodyStalledError("no data of the body arrived in time") from None
        finally:
            self._waited_seconds += self._clock() - begun

    def count(self, received: int, *, waited_seconds: float = 0.0) -> None:
        """Record the amount of data received, and any time spent waiting for it elsewhere.

        Raises:
            BodyStalledError: too little data arrived in `body_seconds`.
        """
        self._waited_seconds += waited_seconds
        self._received += received
        if self._seconds and self._waited_seconds >= self._seconds:
            if received and self._received < self._rate * self._waited_seconds:
                raise BodyStalledError("the body arrived too slowly")
            self._waited_seconds, self._received = 0.0, 0


class RequestBody(ContentSource):
    """Body of a request; while one piece is processed, the next accumulates in the buffer.

    Reading it raises:
        ClientGoneError: the connection ended before the body did, or stalled; all received data was passed on before.
        BlobTooLargeError: the blob would be larger than `http.limits.uploadsize`.

    Args:
        request: request whose body is read.
        offset: number of bytes of the blob received in earlier requests.
    """

    def __init__(self, request: web.BaseRequest, *, offset: int = 0) -> None:
        self._content = request.content
        self._protocol = request.protocol
        self._session = session_of(request.transport) if request.transport else None
        self._left = request.content_length
        self._offset = offset
        self._limits = request.get(BODY_LIMITS, NO_LIMITS)
        self._pace = _Pace(self._limits)

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._require_size(self._offset + (self._left or 0))
        try:
            while chunk := await self._next():
                self._count(len(chunk))
                yield chunk
        except (web.RequestPayloadError, ConnectionError, asyncio.IncompleteReadError) as error:
            if isinstance(self._protocol, SocketLender) and (rest := self._protocol.take_arrived(self._content)):
                yield rest
            raise ClientGoneError("the body ended early") from error

    async def _next(self) -> bytes:
        """Return available data, waiting only if there is none; an empty result means the end of the body."""
        arrived = self._content.read_nowait()
        if arrived or self._content.at_eof():
            return arrived
        return await self._pace.wait(self._content.readany())

    @override
    async def blocking_reads(
        self, make_room: Callable[[int], Awaitable[int]]
    ) -> AsyncGenerator[Iterator[memoryview], None]:
        reads = self._chunked_reads(make_room) if self._left is None else self._sized_reads(self._left, make_room)
        async with aclosing(reads) as turns:
            async for pieces in turns:
                yield pieces

    async def _sized_reads(
        self, length: int, make_room: Callable[[int], Awaitable[int]]
    ) -> AsyncGenerator[Iterator[memoryview], None]:
        content, protocol = self._content, self._protocol
        if length < DIRECT_BYTES_MIN or not _can_lend(protocol, content):
            return
        self._require_size(self._offset + length)
        arrived = list(iter(partial(protocol.take_arrived, content), b""))
        already_counted = content.total_bytes - sum(map(len, arrived))
        # If the parser is past the end of the body now, perhaps within the next request, do not read the socket.
        with protocol.lend(content) if _can_lend(protocol, content) else nullcontext() as descriptor:
            if descriptor is None:
                await make_room(length)
                yield map(memoryview, arrived)
                self._count(sum(map(len, arrived)))
                return
            receiver = SocketReceiver(descriptor, length, self._session, arrived=arrived)
            if not arrived and self._session is None:
                # No thread waits for a client that has sent only the head.
                await self._pace.wait(readable(descriptor))
            while receiver.left:
                left, waited_seconds = receiver.left, receiver.waited_seconds
                yield receiver.turn(await make_room(left))
                # Keep aiohttp's count of received bytes correct, as if the parser had read them.
                content.total_bytes = already_counted + length - receiver.left
                if receiver.has_ended:
                    raise ClientGoneError("the body ended early")
                self._count(left - receiver.left, waited_seconds=receiver.waited_seconds - waited_seconds)
                if receiver.is_idle:
                    await self._pace.wait(readable(descriptor))

    async def _chunked_reads(
        self, make_room: Callable[[int], Awaitable[int]]
    ) -> AsyncGenerator[Iterator[memoryview], None]:
        content, protocol = self._content, self._protocol
        # While the client is faster than this process, the parser holds bytes back until the buffer is empty.
        if content.total_bytes < CHUNKED_BYTES_MIN or not _follows_chunks(protocol, content):
            return
        arrived = list(iter(partial(protocol.take_arrived, content), b""))
        if not protocol.can_lend_chunks(content):
            await make_room(_UNKNOWN_BYTES)
            yield map(memoryview, arrived)
            self._count(sum(map(len, arrived)))
            return
        counted = content.total_bytes - sum(map(len, arrived))
        with protocol.lend_chunks(content) as lent:
            receiver = ChunkReceiver(lent.descriptor, lent.framing, self._session, arrived=arrived)
            while not receiver.is_over:
                received, waited_seconds = receiver.received, receiver.waited_seconds
                yield receiver.turn(self._limited(await make_room(_UNKNOWN_BYTES)))
                content.total_bytes = counted + receiver.received
                self._count(receiver.received - received, waited_seconds=receiver.waited_seconds - waited_seconds)
                if receiver.is_idle and not receiver.is_over:
                    await self._pace.wait(readable(lent.descriptor))
        self._content = lent.rest

    def _limited(self, room: int) -> int:
        """Return the room for a body of unknown length; one byte above the limit shows that it is too long."""
        most = self._limits.upload_bytes
        return max(1, min(room, most + 1 - self._offset)) if most else room

    def _count(self, size: int, *, waited_seconds: float = 0.0) -> None:
        self._pace.count(size, waited_seconds=waited_seconds)
        self._offset += size
        if self._left is not None:
            self._left -= size
        self._require_size(self._offset)

    def _require_size(self, size: int) -> None:
        if self._limits.upload_bytes and size > self._limits.upload_bytes:
            raise BlobTooLargeError(self._limits.upload_bytes)


def _can_lend(protocol: object, content: StreamReader) -> TypeGuard[SocketLender]:
    return isinstance(protocol, SocketLender) and protocol.can_lend(content)


def _follows_chunks(protocol: object, content: StreamReader) -> TypeGuard[SocketLender]:
    return isinstance(protocol, SocketLender) and protocol.follows_chunks(content)


async def read_body(request: web.BaseRequest, *, limit: int) -> bytes:
    """Return a body of at most `limit` bytes.

    Raises:
        ManifestTooLargeError: the body is longer; at most one piece beyond the limit was kept in memory.
        ClientGoneError: the connection ended before the body did.
    """
    if request.content_length is not None and request.content_length > limit:
        raise ManifestTooLargeError(limit)
    body = bytearray()
    async for chunk in RequestBody(request):
        body += chunk
        if len(body) > limit:
            raise ManifestTooLargeError(limit)
    return bytes(body)
