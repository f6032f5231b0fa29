"""The server process: sockets, signals, and a stop that lets requests in flight finish."""

import asyncio
import logging
import signal
from typing import Final

from aiohttp import web

from config.container import Container
from config.settings import HttpNetwork, Settings
from core.errors import StorageError
from core.ports.authenticator import CredentialSourceError
from entrypoints.http.app import create_app
from entrypoints.http.draining import CUT_SECONDS, InFlight
from entrypoints.http.keys import IN_FLIGHT
from entrypoints.http.middlewares import AccessLogger
from entrypoints.http.streaming import READ_BUFFER_BYTES

_logger = logging.getLogger(__name__)

KEEPALIVE_SECONDS: Final = 75.0
HEADER_BYTES_MAX: Final = 16 * 1024
BACKLOG: Final = 1024


def serve(settings: Settings, container: Container) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a stop, 4 when the storage could not be opened, 1 when the address or a file of users or keys
        could not be.
    """
    return asyncio.run(_serve(settings, container))


async def _serve(settings: Settings, container: Container) -> int:
    _warn_without_secret(settings)
    app = create_app(
        container.registry(),
        settings,
        authenticator=container.authenticator(),
        policy=container.access_policy(),
        upload_secret=container.shared_secret(),
        now=container.now(),
        # Users and keys first: nothing is opened for a registry that could let nobody in.
        lifetimes=[
            container.authenticator(),
            container.blob_storage(),
            container.catalog_index(),
            container.descriptor_cache(),
        ],
    )
    runner = web.AppRunner(
        app,
        access_log_class=AccessLogger,
        keepalive_timeout=KEEPALIVE_SECONDS,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        read_bufsize=READ_BUFFER_BYTES,
        # A body is what its digest says: a Content-Encoding must not change it on the way in.
        auto_decompress=False,
        shutdown_timeout=CUT_SECONDS,
    )
    stopping = _on_signals()
    try:
        await runner.setup()
        await _site(runner, settings).start()
    except CredentialSourceError as error:
        _logger.error("cannot tell who may come in: %s", error)  # noqa: TRY400
        return 1
    except StorageError as error:
        _logger.error("cannot open the storage: %s", error)  # noqa: TRY400 - one line for people, no traceback
        return 4
    except OSError as error:
        _logger.error("cannot listen on %s: %s", settings.http.addr, error)  # noqa: TRY400
        return 1
    else:
        _logger.info("listening on %s", settings.http.addr)
        await stopping.wait()
        await _drain(runner, app[IN_FLIGHT], settings.http.drain_timeout_seconds)
        return 0
    finally:
        await runner.cleanup()


async def _drain(runner: web.AppRunner, in_flight: InFlight, timeout_seconds: float) -> None:
    _logger.info("stopping", extra={"drain_seconds": timeout_seconds})
    for site in list(runner.sites):
        await site.stop()
    if not await in_flight.drain(timeout_seconds):
        _logger.warning("requests are cut off: they did not finish within http.draintimeout")


def _warn_without_secret(settings: Settings) -> None:
    if settings.http.secret is None:
        _logger.warning(
            "no http.secret: uploads fail when another replica or this one after a restart takes the next piece; "
            "set REGISTRY_HTTP_SECRET to the same text on all replicas"
        )


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _site(runner: web.AppRunner, settings: Settings) -> web.BaseSite:
    if settings.http.net is HttpNetwork.UNIX:
        return web.UnixSite(runner, settings.http.addr, backlog=BACKLOG)
    host, _, port = settings.http.addr.rpartition(":")
    return web.TCPSite(runner, host.strip("[]") or None, int(port), backlog=BACKLOG)
