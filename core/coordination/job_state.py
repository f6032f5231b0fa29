"""The state of a job that one replica runs at a time, as any process sees it: its holder, progress and last run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from core.errors import ObjectNotFoundError, ObjectTooLargeError
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.objects import find
from core.store.time import store_time

RUNNING_WITHIN: Final = timedelta(seconds=60)
"""Age of a lease from which its holder counts as dead. Holders renew their leases every ten seconds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """The state of a job."""

    holder: str | None = None
    """The process that runs the job; None if none does."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """As the running process noted it with the last renewal of its lease."""
    done_at: datetime | None = None
    """End of the last run by a server, by the store's clock."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Counts of that run."""


async def read_job(storage: BlobStorage, job: str) -> JobState:
    """Return the state of a job. Two to six storage requests.

    Raises:
        StorageError: the store failed.
    """
    lease = await find(storage, layout.lease(job))
    running: Mapping[str, Any] = {}
    is_running = lease is not None and await store_time(storage) - lease.modified_at < RUNNING_WITHIN
    if is_running:
        running = await _document(storage, layout.lease(job))
    done = await find(storage, layout.job(job))
    progress = running.get("progress")
    return JobState(
        holder=str(running.get("owner", "unknown")) if is_running else None,
        progress=progress if isinstance(progress, dict) else {},
        done_at=done.modified_at if done else None,
        report=await _document(storage, layout.job(job)) if done else {},
    )


async def _document(storage: BlobStorage, key: str) -> Mapping[str, Any]:
    try:
        document = json.loads(await storage.read(key))
    except (ObjectNotFoundError, ObjectTooLargeError, ValueError):
        # Gone since it was found, or not written by a registry.
        return {}
    return document if isinstance(document, dict) else {}
