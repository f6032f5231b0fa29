"""TLS connections that can be lent to a thread, on public parts of asyncio and ssl (`http.fastpath`)."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from typing_extensions import override

from entrypoints.http.connection.accepting import PLAIN_HTTP
from entrypoints.http.connection.socket_access import duplicate
from entrypoints.http.connection.tls_session import PIECE_BYTES, TlsSession

_logger = logging.getLogger(__name__)

_HANDSHAKE_SECONDS: Final = 60.0
"""asyncio's default."""
_UNSENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""More than a response ever has in the buffer of a socket.

A client that changes its keys again and again, and reads none of OpenSSL's answers, reaches it.
"""


async def begin_lendable_tls(
    sock: socket.socket,
    server: Callable[[], asyncio.BaseProtocol],
    context: ssl.SSLContext,
    handshake_seconds: float | None,
) -> None:
    """Begin the handshake on an accepted socket, and serve it when the handshake is complete (see `BeginTls`)."""
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(
        lambda: TlsTransport(server, TlsSession(context), handshake_seconds or _HANDSHAKE_SECONDS), sock
    )


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One connection: the transport of HTTP, and the protocol of the socket below.

    Received data is decrypted and delivered at once, and written data encrypted at once, so that the socket's own
    buffers and limits hold for both directions. `close` does not wait for the client.

    Args:
        server: creates the protocol of the connection after the handshake.
        session: a new session.
        handshake_seconds: timeout of the handshake.
    """

    def __init__(
        self, server: Callable[[], asyncio.BaseProtocol], session: TlsSession, handshake_seconds: float
    ) -> None:
        super().__init__()
        self.session = session
        """The session; a thread may use it while the connection is lent."""
        self._server = server
        self._socket: asyncio.Transport
        self._protocol: asyncio.Protocol | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(handshake_seconds, self._end_handshake)
        self._is_paused = False
        self._is_closing = False
        self._is_lent = False
        self._error: Exception | None = None

    # The protocol of the socket.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("the transport of a socket sends and receives")
        self._socket = transport

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self.session.accept(data)
        try:
            if self._protocol is not None:
                self._deliver(self._protocol)
            elif self.session.shake_hands():
                self._begin()
            else:
                self._flush()
        except ssl.SSLError as error:
            self._fail(error)

    @override
    def eof_received(self) -> bool | None:
        if self._protocol is not None and not self._is_closing:
            self._protocol.eof_received()
            self.close()
        return None

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        self._timer.cancel()
        if self._protocol is not None:
            self._protocol.connection_lost(self._error or exc)

    @override
    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    @override
    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    def _begin(self) -> None:
        self._timer.cancel()
        self._flush()
        if self._socket.is_closing():
            # The client has gone, and a protocol would get to know that before it has started.
            self._is_closing = True
            return
        protocol = self._server()
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError("the protocol of a connection receives bytes")
        self._protocol = protocol
        protocol.connection_made(self)
        self._deliver(protocol)

    def _deliver(self, protocol: asyncio.Protocol) -> None:
        data = self.session.decrypt()
        # OpenSSL answers a change of keys.
        self._flush()
        if self._socket.get_write_buffer_size() > _UNSENT_BYTES_MAX:
            self.abort()
        if data and not self._is_closing:
            protocol.data_received(data)
        if self.session.has_ended and not self._is_closing:
            protocol.eof_received()
            self.close()

    def _deliver_rest(self) -> None:
        """Deliver what arrived, or was taken from the socket by a thread, while nothing could be delivered."""
        if self._protocol is None or self._is_paused or self._is_closing or self._is_lent:
            return
        try:
            self._deliver(self._protocol)
        except ssl.SSLError as error:
            self._fail(error)

    def _flush(self) -> None:
        if output := self.session.take_output():
            self._socket.write(output)

    def _fail(self, error: ssl.SSLError) -> None:
        """Close the connection, after an alert that names the reason."""
        _logger.debug("connection ended: %s", error)
        self._is_closing = True
        self._error = error
        alert = self.session.take_output()
        self._socket.write(PLAIN_HTTP if error.reason == "HTTP_REQUEST" else alert)
        self._socket.close()

    def _end_handshake(self) -> None:
        _logger.debug("connection setup failed: the handshake was not complete in time")
        self.abort()

    # The transport of HTTP.

    @contextmanager
    def lend(self) -> Iterator[int]:
        """Lend a descriptor of the socket, and the session, to a thread for a block; nothing may be written in it.

        The connection is cut off if it is closed in the block, or if a part of a record is unsent after the block.
        """
        self._is_lent = True
        self._socket.pause_reading()
        try:
            with duplicate(self._socket.get_extra_info("socket").fileno()) as descriptor:
                yield descriptor
        finally:
            self._is_lent = False
            if self.session.has_unsent:
                self.abort()
            elif not self._is_closing:
                self._flush()
                if not self._is_paused:
                    self.resume_reading()

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_lent:
            raise RuntimeError("the connection is lent to a thread")
        if self._is_closing or not data:
            return
        if len(data) <= PIECE_BYTES:
            self._socket.write(self.session.encrypt(data))
            return
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            self._socket.write(self.session.encrypt(view[start : start + PIECE_BYTES]))

    @override
    def close(self) -> None:
        if self._is_lent:
            # A thread uses the session, and the client cannot take the response for a complete one.
            self.abort()
        elif not self._is_closing:
            self._is_closing = True
            self._socket.write(self.session.end())
            self._socket.close()

    @override
    def abort(self) -> None:
        self._is_closing = True
        self._socket.abort()

    @override
    def is_closing(self) -> bool:
        return self._is_closing

    @override
    def pause_reading(self) -> None:
        self._is_paused = True
        self._socket.pause_reading()

    @override
    def resume_reading(self) -> None:
        self._is_paused = False
        if self._is_lent or self._is_closing:
            return
        self._socket.resume_reading()
        if self.session.has_input or self.session.has_ended:
            # Not at once: the caller may be the protocol, in the middle of other data.
            self._loop.call_soon(self._deliver_rest)

    @override
    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        found = self.session.get_info(name)
        return self._socket.get_extra_info(name, default) if found is None else found

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise NotImplementedError("a connection keeps its protocol")

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        return self if self._protocol is None else self._protocol

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._socket.set_write_buffer_limits(high, low)

    @override
    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size()

    @override
    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._socket.get_write_buffer_limits()

    @override
    def can_write_eof(self) -> bool:
        return False


def is_lendable(transport: asyncio.Transport) -> bool:
    """Return whether `lend_socket` works: the connection uses no TLS, or one that a thread can use."""
    return isinstance(transport, TlsTransport) or (
        transport.get_extra_info("sslcontext") is None and transport.get_extra_info("socket") is not None
    )


def session_of(transport: asyncio.Transport) -> TlsSession | None:
    """Return the session of a connection that can be lent; None without TLS."""
    return transport.session if isinstance(transport, TlsTransport) else None


def lend_socket(transport: asyncio.Transport) -> AbstractContextManager[int]:
    """Lend a descriptor of the socket for a block, and with TLS also the session (see `TlsTransport.lend`)."""
    if isinstance(transport, TlsTransport):
        return transport.lend()
    return duplicate(transport.get_extra_info("socket").fileno())
