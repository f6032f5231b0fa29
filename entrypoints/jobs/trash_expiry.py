"""Permanent removal of expired trash, by one of all replicas."""

import logging
from collections.abc import Mapping

from core.coordination.schedule import SharedSchedule
from core.restoration.service import TrashService
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import shared_job

_logger = logging.getLogger(__name__)


def expiry_job(trash: TrashService, schedule: SharedSchedule, every_seconds: float) -> Job:
    """Return the expiry job; every replica schedules it, and each run is done by one of them.

    Args:
        trash: the trash.
        schedule: shared by all replicas.
        every_seconds: interval at which a process checks whether a run is due; equal to the schedule's interval.
    """

    async def work() -> Mapping[str, object]:
        ended = await trash.expire()
        counts = {"entries": ended.entries, "blobs": ended.blobs, "bytes": ended.blob_bytes}
        if ended.entries:
            _logger.info("expired trash removed", extra=counts)
        return counts

    return shared_job(
        schedule,
        work,
        name="trash expiry",
        interval_seconds=every_seconds,
        look_seconds=every_seconds,
    )
