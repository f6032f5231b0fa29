"""Connection that lends its socket to threads, for large bodies in both directions."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from aiohttp import StreamReader
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo
from typing_extensions import override

from entrypoints.http.connection.chunks import ChunkedFraming
from entrypoints.http.connection.fastpath.framing import END_OF_HEAD
from entrypoints.http.connection.fastpath.recall import RecallingProtocol
from entrypoints.http.connection.socket_access import LentChunks
from entrypoints.http.connection.streaming import ClientGoneError
from entrypoints.http.connection.tls_transport import is_lendable, lend_socket

_CHUNKED_HEAD: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
"""The head of a request whose body a new parser is to continue."""


class LendingProtocol(RecallingProtocol):
    """One connection, as `SocketLender`."""

    __slots__ = ("_body", "_chunks", "_is_spoiled", "_partial_bytes")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._body: StreamReader = EMPTY_PAYLOAD
        """Body of the newest request that the parser has read."""
        self._chunks: ChunkedFraming | None = None
        """Position in that body, if it is chunked and plain up to now."""
        self._partial_bytes = 0
        """Bytes received of the unfinished head."""
        self._is_spoiled = False
        """Whether the parser's position in the stream is lost: no further request may be read."""

    @override
    def data_received(self, data: bytes) -> None:
        """Parse data, and follow a chunked body in it; `answer` is to be called next."""
        requests_before, body = self._request_count, self._body
        # Whether `data` begins with a head, and the parser holds back no earlier bytes.
        is_at_head = self._body.is_eof() and not (self._partial_bytes or self._reading_paused or self._buffer_paused)
        self._follow(data)
        super().data_received(data)
        if count := self._request_count - requests_before:
            self._chunks = None
            if not body.is_eof() and isinstance(self._messages[-1][0], _ErrInfo):
                self._refuse_rest(body)
                return
            if count == len(self._messages) == 1 and is_at_head:
                self._begin_chunks(data)

    def can_lend(self, payload: StreamReader) -> bool:
        """Return whether `lend` works, and the body is not complete."""
        transport = self.transport
        return (
            transport is not None
            and not transport.is_closing()
            # aiohttp would not parse the part of the body that it holds back.
            and not self._close
            and not self._force_close
            and is_lendable(transport)
            and not payload.is_eof()
        )

    def take_arrived(self, payload: StreamReader) -> bytes:
        """Return the buffered bytes (see `SocketLender`)."""
        # aiohttp's public methods raise as soon as the connection is lost, even if the buffer still holds data.
        return payload._read_nowait(-1)  # noqa: SLF001 - not public in aiohttp

    @contextmanager
    def lend(self, payload: StreamReader) -> Iterator[int]:
        """Lend a descriptor for a block that reads the rest of a body from the socket (see `SocketLender`)."""
        if self.transport is None:
            raise ClientGoneError("the connection was closed before the rest of the body was read")
        self.transport.pause_reading()
        try:
            with lend_socket(self.transport) as descriptor:
                yield descriptor
        except BaseException:
            # The thread consumed bytes that the parser still expects, so the parser would read the next request as
            # body.
            self._is_spoiled = True
            self._resume_transport_reading()
            raise
        # The parser did not see the end of the body and never will.
        self._parser = self._new_parser()
        payload.feed_eof()

    @asynccontextmanager
    async def lend_output(self) -> AsyncIterator[int]:
        """Lend a descriptor for a block that writes to the socket (see `SocketLender`)."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            # With a limit of 0, writing pauses at once and resumes when the write buffer is empty.
            self.transport.set_write_buffer_limits(high=0)
            await self._drain_helper()
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection was closed before the response")
        transport.set_write_buffer_limits()
        with lend_socket(transport) as descriptor:
            yield descriptor

    def follows_chunks(self, payload: StreamReader) -> bool:
        """Return whether all of a chunked body is plain up to now, and the rest can be lent (see `SocketLender`)."""
        is_followed = payload is self._body and self._chunks is not None
        return is_followed and payload.exception() is None and self.can_lend(payload)

    def can_lend_chunks(self, payload: StreamReader) -> bool:
        """Return whether `lend_chunks` works now."""
        # The parser has seen the same data, and holds none back.
        has_seen_all = self._chunks is not None and self._chunks.data_bytes == payload.total_bytes
        return has_seen_all and self.follows_chunks(payload)

    @contextmanager
    def lend_chunks(self, payload: StreamReader) -> Iterator[LentChunks]:
        """Lend a descriptor for a block that reads a chunked body (see `SocketLender`)."""
        if self.transport is None or self._chunks is None:
            raise ClientGoneError("the connection was closed before the rest of the body was read")
        self.transport.pause_reading()
        chunks, self._chunks = self._chunks, None
        try:
            with lend_socket(self.transport) as descriptor:
                lent = LentChunks(descriptor=descriptor, framing=chunks, rest=payload)
                yield lent
            if chunks.rest is None:
                raise ClientGoneError("the body ended early")  # noqa: TRY301 - as if the block had raised it
        except BaseException:
            self._is_spoiled = True
            self._resume_transport_reading()
            raise
        # The first parser is somewhere in a chunk that it did not see. A new one continues with the next line.
        self._parser = self._new_parser()
        ((_, lent.rest),) = self._parser.feed_data(_CHUNKED_HEAD)[0]
        self._parser.message_consumed()
        self._body = lent.rest
        payload.feed_eof()
        self.data_received(chunks.rest)

    def _refuse_rest(self, body: StreamReader) -> None:
        """End a body whose framing is wrong: the parser has reported it as another request, and tells no reader."""
        self._messages.pop()
        self._request_count -= 1
        self._is_spoiled = True
        body.set_exception(RequestPayloadError("malformed body"))
        body.feed_eof()

    def _begin_chunks(self, data: bytes) -> None:
        """Begin to follow a body if its request begins with `data`; the request is the newest that was parsed."""
        message, payload = self._messages[-1]
        if not isinstance(message, RawRequestMessage) or not message.chunked or payload.is_eof():
            return
        head, end, body = data.partition(END_OF_HEAD)
        # Without any other end of line, the parser cannot have found an earlier end of the head.
        if end and not head.startswith((b"\r", b"\n")) and head.count(b"\n") == head.count(b"\r\n"):
            self._chunks = ChunkedFraming()
            self._follow(body)

    def _follow(self, data: bytes) -> None:
        if self._chunks is not None:
            self._chunks.follow(data)
            if self._chunks.is_over:
                # It holds bytes that the parser has, too.
                self._chunks = None

    def _new_parser(self) -> HttpRequestParser:
        # Same arguments as aiohttp's first parser.
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )
