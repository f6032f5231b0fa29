"""Connection acceptor for a listening socket, which handles a shortage of file descriptors.

When accept() fails for lack of descriptors, asyncio's own loop tries all `backlog` connections, logs each failure and
schedules a timer for each: 800,000 log lines in ten seconds. That loop cannot close idle connections either.
"""

import asyncio
import errno
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from typing_extensions import override

_logger = logging.getLogger(__name__)

_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
BACKLOG: Final = 1024
"""Maximum number of connections that wait for accept()."""
_AT_ONCE: Final = 128
"""Maximum number of connections accepted in one iteration of the event loop."""
_RESERVE_MAX: Final = 256
"""Maximum number of descriptors reserved for files and stores; a quarter of the limit if that is less."""
_SOON_SECONDS: Final = 0.02
"""Pause after idle connections were closed, so that the event loop can close their sockets."""
_LATER_SECONDS: Final = 1.0
"""Pause if there was no idle connection to close."""
PLAIN_HTTP: Final = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)
"""Response to plain HTTP on a TLS port: the same bytes as Go's, and therefore distribution's."""
_BUSY_BODY: Final = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"too many connections"}]}\n'
BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_BUSY_BODY), _BUSY_BODY)
)
"""Response to a connection above `http.limits.connections`."""
_LOG_SECONDS: Final = 60.0
"""Minimum interval between two log lines about scarce descriptors."""

ChooseContext = Callable[[socket.socket], Awaitable[ssl.SSLContext | None]]
"""Returns the context of a TLS connection that ends after its handshake, or None for the usual context.

Reads nothing for good.
"""
BeginTls = Callable[[socket.socket, Callable[[], asyncio.BaseProtocol], ssl.SSLContext, float | None], Awaitable[None]]
"""Begins TLS on an accepted socket, with a function that creates the protocol of the connection, the context, and the
timeout of the handshake (None means asyncio's default). A client that uses plain HTTP gets `PLAIN_HTTP`.

Raises `OSError` if the handshake failed before it returned.
"""


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard limit, as Go programs do; forked processes inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Ending(asyncio.Protocol):
    """A connection that ends with its handshake, as RFC 8737 requires of challenges."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def begin_tls(
    sock: socket.socket,
    server: Callable[[], asyncio.BaseProtocol],
    context: ssl.SSLContext,
    handshake_seconds: float | None,
) -> None:
    """Serve an accepted socket with asyncio's own TLS (see `BeginTls`)."""
    # asyncio closes the socket when the handshake fails; the duplicate is still open for the answer.
    with sock.dup() as plain:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                server, sock, ssl=context, ssl_handshake_timeout=handshake_seconds
            )
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                plain.send(PLAIN_HTTP)
                plain.shutdown(socket.SHUT_RDWR)
            raise


class Acceptor:
    """Accepts the connections of one socket.

    Args:
        sock: listening socket; stays open.
        server: creates the protocol of each connection.
        context: TLS context for new connections; can be replaced at any time.
        handshake_seconds: timeout of a TLS handshake; None means asyncio's default.
        choose_context: returns the context of a connection that ends after its handshake, by the data that has
            arrived; None means `context`.
        make_room: closes some idle connections and returns their number.
        begin: begins TLS on a connection.
    """

    def __init__(
        self,
        sock: socket.socket,
        server: Callable[[], asyncio.BaseProtocol],
        *,
        context: ssl.SSLContext | None,
        handshake_seconds: float | None,
        choose_context: ChooseContext | None = None,
        make_room: Callable[[], int],
        begin: BeginTls = begin_tls,
    ) -> None:
        self.context = context
        self._sock = sock
        self._server = server
        self._handshake_seconds = handshake_seconds
        self._choose_context = choose_context
        self._close_idle = make_room
        self._begin_on = begin
        self._loop = asyncio.get_running_loop()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = limit
        self._ceiling = limit - min(_RESERVE_MAX, limit // 4)
        self._beginning: set[asyncio.Task[None]] = set()
        self._resuming: asyncio.TimerHandle | None = None
        self._logs_at = self._loop.time()

    def start(self) -> None:
        """Start accepting connections."""
        self._sock.settimeout(0)
        self._resume()

    @property
    def is_beginning(self) -> bool:
        """Whether the handshake of an accepted connection is still under way."""
        return bool(self._beginning)

    def stop(self) -> None:
        """Accept the connections that wait (at most `BACKLOG`), and no more; those already accepted continue."""
        self._loop.remove_reader(self._sock)
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        for _ in range(BACKLOG):
            try:
                connection, _ = self._sock.accept()
            except OSError:
                # No connection is waiting, or there is no descriptor for it.
                return
            self._start(connection)

    def _resume(self) -> None:
        self._resuming = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._sock.accept()
            except OSError as error:
                if error.errno in _SCARCE:
                    self._make_room()
                # Otherwise no connection is waiting, or the waiting one is gone (accept(2)).
                return
            # The kernel assigns the lowest free number, so a high number means that many descriptors are open.
            is_scarce = connection.fileno() >= self._ceiling
            self._start(connection)
            if is_scarce:
                self._make_room()
                return

    def _start(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            if self.context is None:
                await self._loop.connect_accepted_socket(self._server, connection)
            else:
                await self._begin_tls(connection, self.context)
        except OSError as error:
            # The handshake failed, or the client disconnected during the handshake.
            _logger.debug("connection setup failed: %s", error)

    async def _begin_tls(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        server = self._server
        if self._choose_context is not None:
            try:
                chosen = await self._choose_context(connection)
            except BaseException:
                connection.close()
                raise
            if chosen is not None:
                # No request may arrive on it: the context asks for no client certificate.
                context, server = chosen, _Ending
        await self._begin_on(connection, server, context, self._handshake_seconds)

    def _make_room(self) -> None:
        """Close idle connections, and pause accepting until their descriptors are free."""
        closed = self._close_idle()
        now = self._loop.time()
        if now >= self._logs_at:
            self._logs_at = now + _LOG_SECONDS
            _logger.warning(
                "few file descriptors left, closing idle connections: raise the limit of open files (LimitNOFILE)",
                extra={"limit": self._limit, "closed": closed},
            )
        self._loop.remove_reader(self._sock)
        self._resuming = self._loop.call_later(_SOON_SECONDS if closed else _LATER_SECONDS, self._resume)
