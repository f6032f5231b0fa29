"""The aiohttp application: handlers joined to routes, lifetimes joined to the process."""

import asyncio
import contextlib
import logging
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from config.settings import Settings, UploadPurgingSettings
from core.access import AccessPolicy
from core.errors import StorageError
from core.ports.authenticator import TOKEN_PATH, Authenticator, TokenIssuer
from core.registry import Registry
from core.services.catalog import CatalogService
from core.upload_state import UploadStateCodec
from entrypoints.http.authentication import GATEKEEPER, Gatekeeper
from entrypoints.http.cors import Cors
from entrypoints.http.dispatch import Dispatcher
from entrypoints.http.draining import InFlight
from entrypoints.http.forwarding import Forwarding
from entrypoints.http.handlers.base import Handler, get_base
from entrypoints.http.handlers.blobs import BlobHandlers
from entrypoints.http.handlers.lists import ListHandlers
from entrypoints.http.handlers.manifests import ManifestHandlers
from entrypoints.http.handlers.uploads import UploadHandlers
from entrypoints.http.keys import IN_FLIGHT, SWITCHES
from entrypoints.http.limits import gate
from entrypoints.http.middlewares import common_headers, error_middleware
from entrypoints.http.routes import Resource
from entrypoints.http.switches import Switches
from entrypoints.http.token_endpoint import TokenEndpoint
from entrypoints.http.urls import UrlBuilder

_logger = logging.getLogger(__name__)

CATALOG_RETRY_SECONDS: Final = 5.0
"""How soon a name that the catalog's index missed is written again."""
CATALOG_START_SECONDS: Final = 3.0
"""How long the port stays closed for a catalog that is being filled, or whose index does not answer."""
CATALOG_START_RETRY_SECONDS: Final = 0.5
PURGE_DELAY_SECONDS_MAX: Final = 600
"""How long after the start abandoned uploads are first looked for, at most; the moment is left to chance."""
SWEEP_SECONDS: Final = 1.0
"""How long what a finished upload leaves in storage may lie there."""


def create_app(
    registry: Registry,
    settings: Settings,
    *,
    authenticator: Authenticator,
    policy: AccessPolicy,
    upload_secret: bytes,
    now: Callable[[], datetime],
    lifetimes: Sequence[AbstractAsyncContextManager[Any]] = (),
    is_first: bool = True,
) -> web.Application:
    """Build the application.

    Args:
        registry: the domain.
        settings: of which `http` and `storage` are read.
        authenticator: finds out who sends a request.
        policy: what they may do.
        upload_secret: signs upload sessions; equal on all replicas.
        now: tells the time, UTC-aware.
        lifetimes: adapters that live as long as the application; entered in this order, left in reverse.
        is_first: whether this process does what one of several workers has to do for all: it fills the catalog's index
            at start, and removes abandoned uploads.
    """
    urls = UrlBuilder(host=settings.http.host, prefix=settings.http.prefix, relative=settings.http.relative_urls)
    switches = Switches(settings)
    codec = UploadStateCodec(upload_secret)
    gatekeeper = Gatekeeper(
        authenticator,
        policy,
        codec=codec,
        urls=urls,
        upload_lifetime=timedelta(seconds=settings.access.upload_lifetime_seconds),
        now=now,
    )
    dispatcher = Dispatcher(
        _handlers(registry, settings, urls, codec),
        prefix=settings.http.prefix,
        switches=switches,
        gatekeeper=gatekeeper,
        extras={TOKEN_PATH: TokenEndpoint(authenticator)} if isinstance(authenticator, TokenIssuer) else {},
    )
    in_flight = InFlight()
    cors = Cors(settings.http.cors)
    app = web.Application(
        middlewares=[
            in_flight.middleware(),
            error_middleware(lambda: str(uuid.uuid4())),
            gate(settings.http.limits, Forwarding(settings.http.trusted_proxies), time.monotonic),
            cors.middleware(),
        ]
    )
    app[IN_FLIGHT] = in_flight
    app[GATEKEEPER] = gatekeeper
    app[SWITCHES] = switches
    # Line ends too: an encoded one must come to where names are checked.
    app.router.add_route("*", "/{path:(?s:.*)}", dispatcher.__call__)
    app.on_response_prepare.append(common_headers(switches))
    if settings.http.cors.origins:
        app.on_response_prepare.append(cors.mark)
    app.on_response_prepare.append(in_flight.close_connection)
    app.cleanup_ctx.append(_lifetimes(lifetimes))
    app.cleanup_ctx.append(_background(registry, settings.storage.upload_purging, is_first=is_first))
    return app


def _handlers(
    registry: Registry, settings: Settings, urls: UrlBuilder, codec: UploadStateCodec
) -> Mapping[tuple[Resource, str], Handler]:
    blobs = BlobHandlers(registry.blobs, redirects=not settings.storage.redirect_disabled)
    uploads = UploadHandlers(registry, codec=codec, urls=urls)
    manifests = ManifestHandlers(registry, urls=urls, bytes_max=settings.http.limits.manifest_bytes)
    lists = ListHandlers(registry, urls=urls)
    return {
        (Resource.BASE, "GET"): get_base,
        (Resource.BASE, "HEAD"): get_base,
        (Resource.BLOB, "GET"): blobs.get,
        (Resource.BLOB, "HEAD"): blobs.head,
        (Resource.BLOB, "DELETE"): blobs.delete,
        (Resource.UPLOADS, "POST"): uploads.post,
        (Resource.UPLOAD, "GET"): uploads.get,
        (Resource.UPLOAD, "HEAD"): uploads.get,
        (Resource.UPLOAD, "PATCH"): uploads.patch,
        (Resource.UPLOAD, "PUT"): uploads.put,
        (Resource.UPLOAD, "DELETE"): uploads.delete,
        (Resource.MANIFEST, "GET"): manifests.get,
        (Resource.MANIFEST, "HEAD"): manifests.get,
        (Resource.MANIFEST, "PUT"): manifests.put,
        (Resource.MANIFEST, "DELETE"): manifests.delete,
        (Resource.TAG_LIST, "GET"): lists.tags,
        (Resource.REFERRERS, "GET"): lists.referrers,
        (Resource.CATALOG, "GET"): lists.catalog,
    }


def _lifetimes(
    managers: Sequence[AbstractAsyncContextManager[Any]],
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def open_and_close(_app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for manager in managers:
                await stack.enter_async_context(manager)
            yield

    return open_and_close


def _background(
    registry: Registry, purging: UploadPurgingSettings, *, is_first: bool
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(_app: web.Application) -> AsyncIterator[None]:
        catalog_ready = asyncio.Event()
        tasks = [
            asyncio.create_task(_keep_catalog(registry.catalog, catalog_ready, fills=is_first)),
            asyncio.create_task(_keep_swept(registry)),
        ]
        if is_first and purging.enabled:
            tasks.append(asyncio.create_task(_keep_purged(registry, purging)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(catalog_ready.wait(), CATALOG_START_SECONDS)
        yield
        for task in tasks:
            task.cancel()
        # Waited for without raising what they were cancelled with.
        await asyncio.wait(tasks)
        await _sweep(registry)

    return run


async def _keep_swept(registry: Registry) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await _sweep(registry)


async def _sweep(registry: Registry) -> None:
    try:
        await registry.uploads.sweep()
    except StorageError as error:
        _logger.warning("finished upload sessions stay for now: %s", error)


async def _keep_purged(registry: Registry, purging: UploadPurgingSettings) -> None:
    # Replicas that start together do not all look at once.
    await asyncio.sleep(secrets.randbelow(PURGE_DELAY_SECONDS_MAX * 1000) / 1000)
    while True:
        try:
            age = timedelta(seconds=purging.age_seconds)
            for session in await registry.uploads.purge(age, dry_run=purging.dry_run):
                _logger.info("abandoned upload", extra={"session": session, "removed": not purging.dry_run})
        except StorageError as error:
            _logger.warning("abandoned uploads stay for now: %s", error)
        await asyncio.sleep(purging.interval_seconds)


async def _keep_catalog(catalog: CatalogService, ready: asyncio.Event, *, fills: bool) -> None:
    """Fill the index, quickly retried while the port is closed; then write, for ever, what it missed."""
    loop = asyncio.get_running_loop()
    patience_ends = loop.time() + CATALOG_START_SECONDS
    while True:
        try:
            is_done = await catalog.catch_up(fills=fills)
        except Exception:
            # A defect, but one in the catalog must not leave it without upkeep until the next restart.
            _logger.exception("upkeep of the catalog failed")
            is_done = False
        if is_done:
            ready.set()
        is_starting = not ready.is_set() and loop.time() < patience_ends
        await asyncio.sleep(CATALOG_START_RETRY_SECONDS if is_starting else CATALOG_RETRY_SECONDS)
