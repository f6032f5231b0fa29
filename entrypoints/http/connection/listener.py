"""Listening sockets, and the server on a socket, whose TLS context can be replaced while it serves."""

import asyncio
import errno
import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp import web
from typing_extensions import override

from config.errors import ConfigError
from config.settings import HttpNetwork, HttpSettings
from entrypoints.http.connection.accepting import BACKLOG, Acceptor, BeginTls, ChooseContext, begin_tls
from entrypoints.http.connection.syn_filter import ignore_new_handshakes

_TURNS_TO_BEGIN: Final = 2
"""Iterations of the event loop from accept() until the server knows the transport."""
_HANDSHAKE_SECONDS: Final = 0.02
"""Time of handshakes on the network that are under way when a stop is requested."""
UNIX_MODE: Final = 0o660
"""Permissions of a Unix socket: owner and group may connect."""


class ServerSockets:
    """The listening sockets of all processes of a server.

    The kernel queues connections on a socket until each process has closed it. So a process closes what it does not
    serve, and a parent that only keeps the sockets for its workers closes them when a stop begins. A client then
    connects elsewhere, in place of waiting in a queue whose connections are reset in the end.

    Args:
        settings: settings, of which `addr`, `net` and `limits` are read.
        inherited: descriptors passed by systemd.
        count: number of processes.

    Raises:
        OSError: the address is not available.
        ConfigError: see `open_socket`.
    """

    def __init__(self, settings: HttpSettings, inherited: Sequence[int], count: int) -> None:
        self._sockets = _open_sockets(settings, inherited, count)
        self._is_inherited = bool(inherited)
        is_own_file = settings.net is HttpNetwork.UNIX and not inherited
        self._file = Path(settings.addr) if is_own_file else None

    def enter(self, number: int) -> socket.socket:
        """Return the socket of a process. If there are several, it leaves the others and the file to their parent."""
        own = self._sockets[number]
        if len(self._sockets) > 1:
            self._file = None
        for other in self._sockets:
            if other is not own:
                other.close()
        self._sockets = [own]
        return own

    def refuse_new(self) -> None:
        """Let no client connect that has not begun to; idempotent.

        A socket of systemd stays as it is: it also serves the successor of this server.
        """
        self._remove_file()
        if self._is_inherited:
            return
        for sock in self._sockets:
            if sys.platform == "linux" and sock.family != socket.AF_UNIX:
                with suppress(OSError):
                    # Without the filter, which not every kernel has, a connection just before the end is reset.
                    ignore_new_handshakes(sock)

    def close(self) -> None:
        """Stop listening in this process; idempotent."""
        # Afterwards, another server may have put its own file there.
        self._remove_file()
        for sock in self._sockets:
            sock.close()

    def _remove_file(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file = None


def _open_sockets(settings: HttpSettings, inherited: Sequence[int], count: int) -> list[socket.socket]:
    """Return a bound socket for each of `count` processes.

    On TCP, each process has its own queue, and the kernel distributes connections among the queues. A Unix socket, or a
    socket passed by systemd, is shared.
    """
    first = open_socket(settings, inherited)
    if count == 1 or inherited or settings.net is HttpNetwork.UNIX:
        return [first] * count
    # Bind without SO_REUSEPORT first, which would hide that another server uses the address. Then bind the port, which
    # the kernel may have chosen, once more for each process.
    port = first.getsockname()[1]
    first.close()
    same = replace(settings, addr=f"{settings.addr.rpartition(':')[0]}:{port}")
    return [open_socket(same, is_shared=True) for _ in range(count)]


def open_socket(settings: HttpSettings, inherited: Sequence[int] = (), *, is_shared: bool = False) -> socket.socket:
    """Return the bound socket for `http.addr`, or the one passed by systemd.

    Its accept() never blocks. Processes that share the socket share this mode, and `socket.dup` sets it again: a
    duplicate that blocked for a moment would stop the event loop of another process until the next client connects.

    Args:
        settings: settings, of which `addr`, `net` and `limits` are read.
        inherited: descriptors passed by systemd.
        is_shared: whether other sockets of this user may bind the same port.

    Raises:
        OSError: the address is not available.
        ConfigError: more than one socket was passed, or a file that is not a socket exists at the path.
    """
    if len(inherited) > 1:
        raise ConfigError([f"systemd passed {len(inherited)} sockets: exactly one is supported"])
    if inherited:
        sock = socket.socket(fileno=inherited[0])
    elif settings.net is HttpNetwork.UNIX:
        sock = bind_unix(Path(settings.addr))
    else:
        sock = _bind_tcp(settings.addr, is_shared=is_shared)
    sock.settimeout(0)
    if sock.family != socket.AF_UNIX and settings.limits.send_seconds:
        # Accepted sockets inherit the option: the kernel closes connections that accept no data, also during sendfile.
        timeout_milliseconds = int(settings.limits.send_seconds * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_milliseconds)
    return sock


def _bind_tcp(addr: str, *, is_shared: bool) -> socket.socket:
    host, _, port = addr.rpartition(":")
    host = host.strip("[]")
    if host in {"", "::"} and socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG, reuse_port=is_shared
        )
    found = socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # For a name with both kinds of address, Go listens on the IPv4 address.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
    return socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=is_shared)


def bind_unix(path: Path) -> socket.socket:
    """Return a listening Unix socket at a path; replace an existing socket that no process serves.

    Raises:
        OSError: a process serves the socket, or the path is not available.
        ConfigError: a file that is not a socket exists at the path.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError([f"http.addr: {path}: exists and is not a socket"])
        _require_stale(path)
        path.unlink()
    except FileNotFoundError:
        pass
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Set the permissions through the umask, so that no other user can connect between bind and a later chmod.
        before = os.umask(0o777 & ~UNIX_MODE)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _require_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


class Listener(web.BaseSite):
    """Server on one socket; one per process."""

    def __init__(
        self,
        runner: web.BaseRunner,
        sock: socket.socket,
        *,
        context: ssl.SSLContext | None = None,
        handshake_seconds: float = 0,
        new_connection: Callable[[], asyncio.BaseProtocol] | None = None,
        make_room: Callable[[], int] = lambda: 0,
        choose_context: ChooseContext | None = None,
        begin: BeginTls = begin_tls,
        refuse_new: Callable[[], None] = lambda: None,
    ) -> None:
        """Create the server; it does not listen yet.

        Args:
            runner: runner of the application, already set up.
            sock: bound socket; closed by `stop`.
            context: TLS context; None serves without TLS.
            handshake_seconds: timeout of a TLS handshake; 0 means asyncio's default.
            new_connection: returns the protocol for a connection; None means `runner.server`.
            make_room: closes some idle connections when descriptors are scarce, and returns their number.
            choose_context: see `Acceptor`.
            begin: see `Acceptor`.
            refuse_new: called when a stop begins (see `ServerSockets`).
        """
        super().__init__(runner, ssl_context=context, backlog=BACKLOG)
        self._sock = sock
        self._app_runner = runner
        self._refuse_new = refuse_new
        if runner.server is None:
            raise RuntimeError("the runner is not set up")
        self._acceptor = Acceptor(
            sock,
            new_connection or runner.server,
            context=context,
            handshake_seconds=handshake_seconds or None,
            make_room=make_room,
            choose_context=choose_context,
            begin=begin,
        )

    @property
    @override
    def name(self) -> str:
        """Address for the log."""
        address = self._sock.getsockname()
        if self._sock.family == socket.AF_UNIX:
            return f"unix:{address}"
        host = f"[{address[0]}]" if self._sock.family == socket.AF_INET6 else address[0]
        return f"{host}:{address[1]}"

    @override
    async def start(self) -> None:
        await super().start()
        self._sock.listen(BACKLOG)
        self._acceptor.start()

    def exchange(self, context: ssl.SSLContext) -> None:
        """Use another context for new connections; open connections keep theirs."""
        self._acceptor.context = context

    @property
    def is_connected(self) -> bool:
        """Whether a client is connected, perhaps still in its TLS handshake."""
        server = self._app_runner.server
        return self._acceptor.is_beginning or bool(server is not None and server.connections)

    @override
    async def stop(self) -> None:
        # The kernel resets the connections that wait in the queue of a closed socket.
        self._refuse_new()
        await asyncio.sleep(_HANDSHAKE_SECONDS)
        self._acceptor.stop()
        self._sock.close()
        # Let connections accepted just now begin, so that they end like idle ones instead of being cut off without an
        # answer.
        for _ in range(_TURNS_TO_BEGIN):
            await asyncio.sleep(0)
        await super().stop()
