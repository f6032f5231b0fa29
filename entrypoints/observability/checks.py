"""Health checks of distribution's configuration section `health`: storage, files, URLs and ports."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TraceConfig, TraceRequestRedirectParams
from yarl import URL

from config.settings import FileCheckSettings, HealthSettings, HttpCheckSettings, TcpCheckSettings
from core.errors import StorageError
from core.ports.blob_storage import BlobStorage
from entrypoints.observability.health import STORAGE_TIMEOUT_SECONDS, Check, CheckFailedError

DEFAULT_INTERVAL_SECONDS: Final = 10.0
"""Interval used when the configured interval is 0, as in distribution."""


def configured_checks(settings: HealthSettings, storage: BlobStorage) -> Iterator[Check]:
    """Yield the configured checks, under distribution's names."""
    if settings.storage.enabled:
        yield Check(
            name=f"storagedriver_{storage.name}",
            run=lambda: check_storage(storage, STORAGE_TIMEOUT_SECONDS),
            interval_seconds=settings.storage.interval_seconds or DEFAULT_INTERVAL_SECONDS,
            threshold=settings.storage.threshold,
            blocks=False,
        )
    for file in settings.files:
        yield _file_check(file)
    for position, http in enumerate(settings.http):
        yield _http_check(http, position)
    for tcp in settings.tcp:
        yield _tcp_check(tcp)


async def check_storage(storage: BlobStorage, timeout_seconds: float) -> None:
    """Check that the storage responds.

    Raises:
        CheckFailedError: the storage fails or does not respond in time.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            await storage.check()
    except StorageError as error:
        raise CheckFailedError(str(error)) from error
    except TimeoutError:
        raise CheckFailedError(f"no response within {timeout_seconds:g} s") from None


def _file_check(settings: FileCheckSettings) -> Check:
    async def look() -> None:
        try:
            await asyncio.to_thread(Path(settings.file).stat)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CheckFailedError(os.strerror(error.errno or 0)) from error
        raise CheckFailedError("file exists")

    # Distribution parses a threshold for files but ignores it.
    return Check(name=settings.file, run=look, interval_seconds=settings.interval_seconds or DEFAULT_INTERVAL_SECONDS)


def _http_check(settings: HttpCheckSettings, position: int) -> Check:
    # User, password and query may be credentials. Unlike distribution, leave them out of the name.
    url = URL(settings.uri)
    bare = str(url.with_user(None).with_query(None))
    name = settings.uri if bare == str(url) else f"{bare} (health.http[{position}])"
    if any(header.lower() == "authorization" for header in settings.headers):
        # As in distribution; aiohttp does not accept both at once.
        url = url.with_user(None)
    headers = [(header, value.reveal()) for header, values in settings.headers.items() for value in values]
    timeout = ClientTimeout(total=settings.timeout_seconds or None)

    async def ask() -> None:
        try:
            # Use a new connection each time: an open connection proves nothing about new ones.
            async with (
                ClientSession(timeout=timeout, cookie_jar=DummyCookieJar(), trace_configs=[_same_server()]) as session,
                session.head(url, headers=headers, allow_redirects=True) as response,
            ):
                status = response.status
        except (ClientError, TimeoutError, OSError, ValueError):
            raise CheckFailedError(f"error while checking: {name}") from None
        if status != settings.status_code:
            raise CheckFailedError(f"downstream service returned unexpected status: {status}")

    return Check(
        name=name,
        run=ask,
        interval_seconds=settings.interval_seconds or DEFAULT_INTERVAL_SECONDS,
        threshold=settings.threshold,
    )


def _same_server() -> TraceConfig:
    """Return a trace config that refuses redirects to another server, so that no server can direct checks elsewhere."""

    async def look(_session: ClientSession, _context: object, redirect: TraceRequestRedirectParams) -> None:
        answer = redirect.response
        # aiohttp also follows the `URI` header.
        location = answer.headers.get("Location") or answer.headers.get("URI") or ""
        if answer.url.join(URL(location)).origin() != answer.url.origin():
            answer.close()
            raise CheckFailedError("redirects to another server are not followed: correct the URL")

    config = TraceConfig()
    config.on_request_redirect.append(look)
    return config


def _tcp_check(settings: TcpCheckSettings) -> Check:
    host, _, port = settings.addr.rpartition(":")

    async def connect() -> None:
        try:
            async with asyncio.timeout(settings.timeout_seconds or None):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError, ValueError):
            raise CheckFailedError(f"connection to {settings.addr} failed") from None
        writer.close()

    return Check(
        name=settings.addr,
        run=connect,
        interval_seconds=settings.interval_seconds or DEFAULT_INTERVAL_SECONDS,
        threshold=settings.threshold,
    )
