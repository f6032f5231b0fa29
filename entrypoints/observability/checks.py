"""What distribution's health checks look at: the storage, files, URLs, ports (`health`)."""

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
"""What an interval of 0 means, as in distribution."""


def configured_checks(settings: HealthSettings, storage: BlobStorage) -> Iterator[Check]:
    """Yield the checks that the configuration asks for, under distribution's names."""
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
    """Ask the storage whether it answers.

    Raises:
        CheckFailedError: it does not, or not in time.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            await storage.check()
    except StorageError as error:
        raise CheckFailedError(str(error)) from error
    except TimeoutError:
        raise CheckFailedError(f"no answer within {timeout_seconds:g} s") from None


def _file_check(settings: FileCheckSettings) -> Check:
    async def look() -> None:
        try:
            await asyncio.to_thread(Path(settings.file).stat)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CheckFailedError(os.strerror(error.errno or 0)) from error
        raise CheckFailedError("file exists")

    # Distribution reads a threshold for files and does not use it.
    return Check(name=settings.file, run=look, interval_seconds=settings.interval_seconds or DEFAULT_INTERVAL_SECONDS)


def _http_check(settings: HttpCheckSettings, position: int) -> Check:
    # User, password and query may be credentials, so a URL that holds any is not named as in distribution.
    url = URL(settings.uri)
    bare = str(url.with_user(None).with_query(None))
    name = settings.uri if bare == str(url) else f"{bare} (health.http[{position}])"
    if any(header.lower() == "authorization" for header in settings.headers):
        # As in distribution; aiohttp takes only one of both.
        url = url.with_user(None)
    headers = [(header, value.reveal()) for header, values in settings.headers.items() for value in values]
    timeout = ClientTimeout(total=settings.timeout_seconds or None)

    async def ask() -> None:
        try:
            # A connection of its own each time: one that is kept open tells nothing about new ones.
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
    """Return what aiohttp asks before it follows a redirect: another server would be asked on this one's word."""

    async def look(_session: ClientSession, _context: object, redirect: TraceRequestRedirectParams) -> None:
        answer = redirect.response
        # aiohttp reads `URI` too.
        location = answer.headers.get("Location") or answer.headers.get("URI") or ""
        if answer.url.join(URL(location)).origin() != answer.url.origin():
            answer.close()
            raise CheckFailedError("redirects to another server, which is not followed: correct the URL")

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
