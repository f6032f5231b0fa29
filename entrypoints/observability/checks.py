"""Health checks of distribution's configuration section `health`: storage, files, URLs and ports."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from config.settings import FileCheckSettings, HealthSettings, TcpCheckSettings
from core.errors import StorageError
from core.ports.blob_storage import BlobStorage
from entrypoints.observability.health import (
    DEFAULT_INTERVAL_SECONDS,
    STORAGE_TIMEOUT_SECONDS,
    Check,
    CheckFailedError,
)


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
    if settings.http:
        # Imports aiohttp's client.
        from entrypoints.observability.url_checks import url_check  # noqa: PLC0415

        for position, http in enumerate(settings.http):
            yield url_check(http, position)
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
