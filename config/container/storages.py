"""Construction of stores and indexes from the settings, observed if metrics or traces are enabled."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from adapters.blob_storage.instrumented import InstrumentedBlobStorage
from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.shared_use import SharedUse
from adapters.metrics.storage import storage_observer
from config.errors import ConfigError
from config.settings import Secret, StorageKind, StorageSettings
from core.ports.catalog_index import CatalogIndex
from core.ports.metrics import Metrics
from core.ports.staging import StagingStorage
from core.ports.tracing import StorageObserver, Tracer

if TYPE_CHECKING:
    from adapters.blob_storage.s3.dialect import Dialect
    from adapters.catalog_index.go_dsn import MySqlAddress

# The next functions import modules only when needed. A server calls them before it forks, so that its workers share the
# memory of these.


def s3_blob_storage(settings: StorageSettings, uploads: SharedUse) -> StagingStorage:
    """Return the S3 adapter."""
    from adapters.blob_storage.s3.dialect import S3  # noqa: PLC0415

    return _s3_storage(replace(settings.s3, authorities=settings.authorities), S3, uploads)


def preset_blob_storage(settings: StorageSettings, uploads: SharedUse) -> StagingStorage:
    """Return the S3 adapter for a store of another vendor, which lacks some of S3."""
    from adapters.blob_storage.s3.presets import dialects  # noqa: PLC0415

    known = {StorageKind.GCS: dialects.GCS, StorageKind.OSS: dialects.OSS, StorageKind.SWIFT: dialects.SWIFT}
    bucket = settings.bucket
    if bucket is None:
        raise AssertionError(f"{settings.kind} has no bucket")
    return _s3_storage(replace(bucket, authorities=settings.authorities), known[settings.kind], uploads)


def _s3_storage(options: S3Options, dialect: "Dialect", uploads: SharedUse) -> StagingStorage:
    from adapters.blob_storage.s3.storage import S3BlobStorage  # noqa: PLC0415
    from adapters.blob_storage.s3.ways import preload  # noqa: PLC0415

    preload(options, dialect)
    return S3BlobStorage(options, dialect=dialect, shared=uploads)


def scs_blob_storage(settings: StorageSettings, uploads: SharedUse) -> StagingStorage:
    """Return the SCS adapter."""
    from adapters.blob_storage.s3.ways import preload  # noqa: PLC0415
    from adapters.blob_storage.scs.dialect import SCS  # noqa: PLC0415
    from adapters.blob_storage.scs.storage import ScsBlobStorage  # noqa: PLC0415

    options = replace(settings.scs, authorities=settings.authorities)
    preload(options.as_s3(), SCS)
    return ScsBlobStorage(options, shared=uploads)


def mysql_catalog_index(address: "MySqlAddress", *, now: Callable[[], datetime]) -> CatalogIndex:
    """Return the index in MySQL."""
    from adapters.catalog_index.mysql import MySqlCatalogIndex  # noqa: PLC0415

    return MySqlCatalogIndex(address, now=now)


def observed_blob_storage(storage: StagingStorage, metrics: Metrics | None, tracer: Tracer | None) -> StagingStorage:
    """Return the storage, observed if metrics or traces are enabled."""
    observers: list[StorageObserver] = []
    if metrics is not None:
        observers.append(storage_observer(metrics, storage.name))
    if tracer is not None:
        observers.append(tracer.storage_observer(storage.name))
    if not observers:
        return storage

    def observe(operation: str, seconds: float, error: type[BaseException] | None) -> None:
        for each in observers:
            each(operation, seconds, error)

    return InstrumentedBlobStorage(
        storage, observe=observers[0] if len(observers) == 1 else observe, clock=time.perf_counter
    )


def mysql_address(dsn: Secret) -> "MySqlAddress":
    """Parse the DSN.

    Raises:
        ConfigError: the DSN is invalid; the message contains no part of it.
    """
    from adapters.catalog_index.go_dsn import DsnInvalidError, parse_go_dsn  # noqa: PLC0415

    try:
        return parse_go_dsn(dsn.reveal())
    except DsnInvalidError as error:
        raise ConfigError([f"`catalog.mysql.dsn` (SEARCH_BACKEND_MYSQL): {error}"]) from None
