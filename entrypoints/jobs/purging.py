"""Removal of abandoned uploads by one of all replicas (`storage.maintenance.uploadpurging`)."""

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from config.settings import UploadPurgingSettings
from core.coordination.budget import Budget
from core.coordination.schedule import SharedSchedule
from core.ports.staging import StagingStorage
from core.registry.abandoned_uploads import Purged, remove_abandoned
from core.store.clock import StoreClock
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import shared_job

_logger = logging.getLogger(__name__)

_NAMED_MAX: Final = 1_000
"""Maximum number of removed uploads named in the log."""


def _ignore(_purged: Purged) -> None:
    """Do nothing."""


def purge_job(
    storage: StagingStorage,
    store_clock: StoreClock,
    schedule: SharedSchedule,
    settings: UploadPurgingSettings,
    budget: Budget,
    *,
    observe: Callable[[Purged], None] = _ignore,
) -> Job:
    """Return the purge job; every replica schedules it, and each run is done by one of them.

    Args:
        storage: storage that holds the uploads.
        store_clock: clock by which their age is measured.
        schedule: shared by all replicas, created with the interval of `settings`.
        settings: age of abandoned uploads, and whether to log them only.
        budget: limits on the use of the store.
        observe: called with the removed uploads.
    """

    async def work() -> Mapping[str, object]:
        before = (await store_clock.look()).before(timedelta(seconds=settings.age_seconds))
        purged = await remove_abandoned(storage, before=before, budget=budget, dry_run=settings.dry_run)
        is_removed = not settings.dry_run
        observe(purged if is_removed else Purged())
        for session in purged.sessions[:_NAMED_MAX]:
            _logger.info("abandoned upload", extra={"session": session, "removed": is_removed})
        for key in purged.unfinished[:_NAMED_MAX]:
            _logger.info("abandoned multipart upload", extra={"key": key, "removed": is_removed})
        counts = {"sessions": len(purged.sessions), "multiparts": len(purged.unfinished), "removed": is_removed}
        _logger.info("search for abandoned uploads finished", extra=counts)
        return counts

    return shared_job(
        schedule,
        work,
        name="upload purging",
        interval_seconds=settings.interval_seconds,
    )
