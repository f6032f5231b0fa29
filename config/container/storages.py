"""Construction of stores and indexes from the settings, observed if metrics or traces are enabled."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from adapters.blob_storage.instrumented import InstrumentedBlobStorage
from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.shared_use import SharedUse
from adapters.blob_storage.scs import ScsOptions
from adapters.metrics.storage import storage_observer
from config.errors import ConfigError
from config.settings import Secret, StorageKind, StorageSettings
from core.ports.catalog_index import CatalogIndex
from core.ports.metrics import Metrics
from core.ports.staging import StagingStorage
from core.ports.tracing import StorageObserver, Tracer

if TYPE_CHECKING:
    from adapters.catalog_index.go_dsn import MySqlAddress

# The next four functions import large modules only when needed: the SDK of object stores takes longer to import than
# everything else together, and 25 MB of memory. A server calls them before it forks, so that its workers share that.


def s3_blob_storage(options: S3Options, uploads: SharedUse) -> StagingStorage:
    """Return the S3 adapter."""
    from adapters.blob_storage.s3.definitions import preload_definitions  # noqa: PLC0415
    from adapters.blob_storage.s3.storage import S3BlobStorage  # noqa: PLC0415

    preload_definitions()
    return S3BlobStorage(options, shared=uploads)


def preset_blob_storage(settings: StorageSettings, uploads: SharedUse) -> StagingStorage:
    """Return the S3 adapter for a store of another vendor, which lacks some of S3."""
    from adapters.blob_storage.s3.definitions import preload_definitions  # noqa: PLC0415
    from adapters.blob_storage.s3.presets import dialects  # noqa: PLC0415
    from adapters.blob_storage.s3.storage import S3BlobStorage  # noqa: PLC0415

    known = {StorageKind.GCS: dialects.GCS, StorageKind.OSS: dialects.OSS, StorageKind.SWIFT: dialects.SWIFT}
    bucket = settings.bucket
    if bucket is None:
        raise AssertionError(f"{settings.kind} has no bucket")
    preload_definitions()
    return S3BlobStorage(bucket, dialect=known[settings.kind], shared=uploads)


def scs_blob_storage(options: ScsOptions, uploads: SharedUse) -> StagingStorage:
    """Return the SCS adapter."""
    from adapters.blob_storage.s3.definitions import preload_definitions  # noqa: PLC0415
    from adapters.blob_storage.scs.storage import ScsBlobStorage  # noqa: PLC0415

    preload_definitions()
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
