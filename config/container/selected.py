"""Adapters that are imported only if the settings select them."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from config.settings import AuditSettings
from core.ports.audit_log import AuditLog
from core.ports.catalog_index import CatalogIndex
from core.ports.staging import StagingStorage


def file_audit_log(settings: AuditSettings) -> AuditLog:
    """Return the audit log in a file."""
    from adapters.audit_log.file import FileAuditLog  # noqa: PLC0415

    return FileAuditLog(Path(settings.file), sync=settings.sync)


def in_memory_storage(now: Callable[[], datetime]) -> StagingStorage:
    """Return a storage that lasts as long as this process."""
    from adapters.blob_storage.memory import InMemoryBlobStorage  # noqa: PLC0415

    return InMemoryBlobStorage(now=now)


def local_file_index(path: str) -> CatalogIndex:
    """Return the catalog index in a file."""
    from adapters.catalog_index.local_file import LocalFileCatalogIndex  # noqa: PLC0415

    return LocalFileCatalogIndex(path=Path(path))
