"""Connections that use aiohttp's public API only (`http.fastpath: false`)."""

import asyncio
import logging
from typing import Final

from aiohttp import web
from typing_extensions import override

from config.settings import LimitSettings
from entrypoints.http.connection.accepting import BUSY, BeginTls, begin_tls
from entrypoints.http.connection.access_log import AccessLogger
from entrypoints.http.connection.streaming import READ_BUFFER_BYTES
from entrypoints.http.draining import CUT_SECONDS

_logger = logging.getLogger(__name__)

HEADERS_MAX: Final = 128


class PlainRunner(web.AppRunner):
    """Runs the application with the limits that aiohttp itself offers.

    A head may take `http.limits.keepalivetimeout`, and a request that cannot be parsed gets aiohttp's own response.
    """

    begin_tls: BeginTls = staticmethod(begin_tls)

    def __init__(self, app: web.Application, limits: LimitSettings) -> None:
        url_bytes, header_bytes = limits.url_bytes, limits.header_bytes
        logger = logging.getLogger(f"{__name__}.aiohttp")
        logger.addFilter(_shorten)
        super().__init__(
            app,
            access_log_class=AccessLogger,
            logger=logger,
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
        self.limits = limits

    def running_server(self) -> web.Server:
        """Return the server, which exists after `setup`."""
        if self.server is None:
            raise RuntimeError("the runner is not set up")
        return self.server

    def new_connection(self) -> asyncio.BaseProtocol:
        """Return the protocol for a new connection."""
        server = self.running_server()
        if 0 < self.limits.connections <= len(server.connections):
            return _BusyProtocol()
        return server()

    def close_idle(self) -> int:
        """Close some idle connections; return the number closed. aiohttp's public API does not show which are idle."""
        return 0


class _BusyProtocol(asyncio.Protocol):
    """A connection above `http.limits.connections`."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(BUSY)
        transport.close()


def _shorten(record: logging.LogRecord) -> bool:
    """Replace aiohttp's report of a malformed request, which quotes the header: it may be the one with the password."""
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__module__ != "aiohttp.http_exceptions":
        return True
    client = record.args[0] if isinstance(record.args, tuple) and record.args else ""
    _logger.info("rejected a request from %s: malformed request (%s)", client, type(error).__name__)
    return False
