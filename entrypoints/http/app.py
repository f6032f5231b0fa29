"""The aiohttp application: handlers joined to routes, lifetimes joined to the process."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from config.settings import Settings
from core.access import AccessPolicy
from core.errors import StorageError
from core.ports.authenticator import TOKEN_PATH, Authenticator, TokenIssuer
from core.registry import Registry
from core.upload_state import UploadStateCodec
from entrypoints.http.authentication import GATEKEEPER, Gatekeeper
from entrypoints.http.dispatch import Dispatcher
from entrypoints.http.draining import InFlight
from entrypoints.http.handlers.base import Handler, get_base
from entrypoints.http.handlers.blobs import BlobHandlers
from entrypoints.http.handlers.lists import ListHandlers
from entrypoints.http.handlers.manifests import ManifestHandlers
from entrypoints.http.handlers.uploads import UploadHandlers
from entrypoints.http.keys import IN_FLIGHT
from entrypoints.http.middlewares import common_headers, error_middleware
from entrypoints.http.routes import Resource, Right
from entrypoints.http.token_endpoint import TokenEndpoint
from entrypoints.http.urls import UrlBuilder

_logger = logging.getLogger(__name__)

CATALOG_RETRY_SECONDS: Final = 5.0
"""How soon a name that the catalog's index missed is written again."""
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
    """
    urls = UrlBuilder(host=settings.http.host, prefix=settings.http.prefix, relative=settings.http.relative_urls)
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
        forbidden=_forbidden(settings),
        gatekeeper=gatekeeper,
        extras={TOKEN_PATH: TokenEndpoint(authenticator)} if isinstance(authenticator, TokenIssuer) else {},
    )
    in_flight = InFlight()
    app = web.Application(middlewares=[in_flight.middleware(), error_middleware(lambda: str(uuid.uuid4()))])
    app[IN_FLIGHT] = in_flight
    app[GATEKEEPER] = gatekeeper
    app.router.add_route("*", "/{path:.*}", dispatcher.__call__)
    app.on_response_prepare.append(common_headers(settings.http.headers))
    app.on_response_prepare.append(in_flight.close_connection)
    app.cleanup_ctx.append(_lifetimes(lifetimes))
    app.cleanup_ctx.append(_background(registry))
    return app


def _handlers(
    registry: Registry, settings: Settings, urls: UrlBuilder, codec: UploadStateCodec
) -> Mapping[tuple[Resource, str], Handler]:
    blobs = BlobHandlers(registry.blobs, redirects=not settings.storage.redirect_disabled)
    uploads = UploadHandlers(registry, codec=codec, urls=urls)
    manifests = ManifestHandlers(registry, urls=urls)
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


def _forbidden(settings: Settings) -> Mapping[Right, str]:
    forbidden: dict[Right, str] = {}
    if not settings.storage.delete_enabled:
        forbidden[Right.DELETE] = "deleting is switched off (storage.delete.enabled)"
    if settings.storage.readonly_enabled:
        reason = "the registry is read-only (storage.maintenance.readonly)"
        forbidden |= {Right.WRITE: reason, Right.DELETE: reason}
    return forbidden


def _lifetimes(
    managers: Sequence[AbstractAsyncContextManager[Any]],
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def open_and_close(_app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for manager in managers:
                await stack.enter_async_context(manager)
            yield

    return open_and_close


def _background(registry: Registry) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(_app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_keep_catalog(registry)), asyncio.create_task(_keep_swept(registry))]
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


async def _keep_catalog(registry: Registry) -> None:
    """Fill the index once, in the background so that the port opens at once; then write what it missed."""
    filled = registry.catalog.is_derived
    while True:
        try:
            if not filled:
                count = await registry.catalog.rebuild()
                _logger.info("catalog filled from storage", extra={"repositories": count})
                filled = True
            await registry.catalog.flush_pending()
        except StorageError as error:
            _logger.warning("catalog index is behind: %s", error)
        await asyncio.sleep(CATALOG_RETRY_SECONDS)
