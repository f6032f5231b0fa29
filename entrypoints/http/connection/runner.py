"""Runner of the application on guarded connections."""

from typing import Final

from aiohttp import web
from typing_extensions import override

from config.settings import LimitSettings
from entrypoints.http.connection.access_log import AccessLogger
from entrypoints.http.connection.protocol import GuardedServer
from entrypoints.http.connection.streaming import READ_BUFFER_BYTES
from entrypoints.http.draining import CUT_SECONDS

HEADERS_MAX: Final = 128


class GuardedRunner(web.AppRunner):
    """Runs the application on guarded connections."""

    def __init__(self, app: web.Application, limits: LimitSettings) -> None:
        url_bytes, header_bytes = limits.url_bytes, limits.header_bytes
        super().__init__(
            app,
            access_log_class=AccessLogger,
            keepalive_timeout=limits.keepalive_seconds,
            max_line_size=url_bytes,
            # The limits must differ, so that an error reveals by its limit which part was too long.
            max_field_size=header_bytes + 1 if header_bytes == url_bytes else header_bytes,
            max_headers=HEADERS_MAX,
            read_bufsize=READ_BUFFER_BYTES,
            # The digest of a body covers the bytes as sent: a Content-Encoding must not be decoded.
            auto_decompress=False,
            shutdown_timeout=CUT_SECONDS,
        )
        self._limits = limits

    def close_idle(self) -> int:
        """Close some idle connections; return the number closed."""
        return self.server.close_idle() if isinstance(self.server, GuardedServer) else 0

    @override
    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return GuardedServer(server, self.app, self._limits, **server._kwargs)  # noqa: SLF001 - not public in aiohttp
