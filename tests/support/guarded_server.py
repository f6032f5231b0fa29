"""The application behind the listener and protocol of production, in the test's own event loop."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from config.settings import LimitSettings, Settings, TlsSettings
from entrypoints.http.connection.accepting import ChooseContext
from entrypoints.http.connection.listener import Listener, open_socket
from entrypoints.http.connection.runner import create_runner
from entrypoints.http.connection.tls import build_context
from tests.support.certificates import Authority

READ_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class GuardedServer:
    """Listening server for raw clients."""

    listener: Listener
    port: int
    client_context: ssl.SSLContext | None = None
    """Context of clients that give none."""
    opened: list[asyncio.StreamWriter] = field(default_factory=list)
    """The connections of clients, which are closed with the server."""

    async def connect(
        self, context: ssl.SSLContext | None = None, *, name: str = "localhost"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection, over TLS if a context is given; the client asks for the certificate of `name`."""
        context = context or self.client_context
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=name if context else None
        )
        self.opened.append(writer)
        return reader, writer

    async def exchange(self, request: bytes) -> bytes:
        """Send bytes; return everything received until the server closes or is silent for a second."""
        reader, writer = await self.connect()
        writer.write(request)
        answer = b""
        try:
            while chunk := await asyncio.wait_for(reader.read(65536), 1 if answer else READ_TIMEOUT_SECONDS):
                answer += chunk
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
        return answer


def with_limits(**limits: Any) -> Settings:
    """Return settings with these limits, and defaults otherwise."""
    http = Settings().http
    return replace(Settings(), http=replace(http, limits=replace(LimitSettings(), **limits)))


def over_tls(folder: Path) -> dict[str, ssl.SSLContext]:
    """Return the options of `run_guarded` for a server and clients that use TLS."""
    authority = Authority(folder)
    pair = authority.issue("server")
    settings = TlsSettings(certificate=str(pair.certificate), key=str(pair.key))
    return {"context": build_context(settings), "client_context": pair.trusting_context()}


@asynccontextmanager
async def run_guarded(
    app: web.Application,
    settings: Settings,
    *,
    context: ssl.SSLContext | None = None,
    client_context: ssl.SSLContext | None = None,
    choose_context: ChooseContext | None = None,
) -> AsyncIterator[GuardedServer]:
    """Serve an application on a free port of 127.0.0.1."""
    runner = create_runner(app, settings.http)
    await runner.setup()
    sock = open_socket(replace(settings.http, addr="127.0.0.1:0"))
    listener = Listener(
        runner,
        sock,
        context=context,
        handshake_seconds=settings.http.limits.header_seconds,
        new_connection=runner.new_connection,
        make_room=runner.close_idle,
        choose_context=choose_context,
        begin=runner.begin_tls,
    )
    await listener.start()
    server = GuardedServer(listener, sock.getsockname()[1], client_context)
    try:
        yield server
    finally:
        await runner.cleanup()
        for writer in server.opened:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
