"""Small proxies for clients in tests: an HTTP proxy (forwarding and CONNECT) and a SOCKS5 proxy.

Both know names that no resolver knows, so a test sees whether the proxy resolved a name.
"""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from typing_extensions import override

_NAMES: Final[Mapping[str, str]] = {"registry.test": "127.0.0.1"}
_HTTP_PORT: Final = 80


class ClientProxy:
    """A proxy on a free port of 127.0.0.1, within its async block.

    Args:
        user: user name of the only user; None disables the sign-in.
        password: its password.
        tls: the context of an HTTP proxy that itself speaks TLS.
    """

    def __init__(self, user: str | None = None, password: str = "", *, tls: ssl.SSLContext | None = None) -> None:
        self.user = user
        self.password = password
        self.asked: list[str] = []
        """The target of each connection, as the client named it."""
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        raise NotImplementedError

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            # The end of the block cancels the connections, which asyncio would log as an error.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.serve(reader, writer)
        finally:
            writer.close()

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, *, first: bytes = b""
    ) -> None:
        """Connect to the target and copy in both directions until one side ends."""
        far_reader, far_writer = await asyncio.open_connection(_NAMES.get(host, host), port)
        try:
            far_writer.write(first)
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, far_writer))
                group.create_task(_copy(far_reader, writer))
        finally:
            # Unlike `close`, this leaves no socket to the garbage collector if data waits for a slow server.
            far_writer.transport.abort()


class HttpProxy(ClientProxy):
    """Forwards requests, and opens tunnels for CONNECT; `asked` has `GET registry.test:80`."""

    @property
    def url(self) -> str:
        """URL with the credentials."""
        user = f"{self.user}:{self.password}@" if self.user else ""
        return f"{'https' if self._tls else 'http'}://{user}127.0.0.1:{self.port}"

    @override
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if self.user and f"proxy-authorization: basic {expected}".lower() not in head.lower():
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            await writer.drain()
            return
        if method == "CONNECT":
            self.asked.append(f"CONNECT {target}")
            host, _, port = target.rpartition(":")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._join(reader, writer, host, int(port))
            return
        url = urlsplit(target)
        self.asked.append(f"{method} {url.netloc}")
        lines = [line for line in head.split("\r\n")[1:] if not line.lower().startswith(("proxy-", "connection:"))]
        path = url.path + (f"?{url.query}" if url.query else "")
        request = "\r\n".join([f"{method} {path} HTTP/1.1", "Connection: close", *lines])
        await self._join(reader, writer, url.hostname or "", url.port or _HTTP_PORT, first=request.encode())


class SocksProxy(ClientProxy):
    """SOCKS5 (RFC 1928, RFC 1929); `asked` has the name or the address that the client sent."""

    def url(self, scheme: str) -> str:
        """URL with the credentials, for `socks5` or `socks5h`."""
        user = f"{self.user}:{self.password}@" if self.user else ""
        return f"{scheme}://{user}127.0.0.1:{self.port}"

    @override
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 2 if self.user else 0
        if method not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes([5, method]))
        if self.user and not await self._authenticate(reader, writer):
            return
        _, _, _, kind = await reader.readexactly(4)
        if kind == 1:
            host = ".".join(map(str, await reader.readexactly(4)))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(f"{host}:{port}")
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await self._join(reader, writer, host, port)

    async def _authenticate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(1)
        user, password = [
            (await reader.readexactly((await reader.readexactly(1))[0])).decode() for _ in ("user", "password")
        ]
        is_right = (user, password) == (self.user, self.password)
        writer.write(b"\x01\x00" if is_right else b"\x01\x01")
        await writer.drain()
        return is_right


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()
