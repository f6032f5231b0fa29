"""Permanent removal of expired trash, by one of all replicas."""

import json
import logging
import secrets
from datetime import datetime
from typing import Final

from core.coordination.schedule import SharedSchedule
from core.restoration.service import TrashService
from entrypoints.jobs.background import Job

_logger = logging.getLogger(__name__)

_LOOK_SECONDS_MIN: Final = 0.1


def expiry_job(trash: TrashService, schedule: SharedSchedule, every_seconds: float) -> Job:
    """Return the expiry job; every replica schedules it, and each run is done by one of them.

    Args:
        trash: the trash.
        schedule: shared by all replicas.
        every_seconds: interval at which a process checks whether a run is due; equal to the schedule's interval.
    """
    seconds = max(_LOOK_SECONDS_MIN, every_seconds)

    async def work(_now: datetime) -> str:
        ended = await trash.expire()
        counts = {"entries": ended.entries, "blobs": ended.blobs, "bytes": ended.blob_bytes}
        if ended.entries:
            _logger.info("trash removed for good", extra=counts)
        return json.dumps(counts)

    async def run() -> None:
        await schedule.run_if_due(work)

    return Job(
        name="expired trash is removed",
        run=run,
        every=seconds,
        # A random delay spreads the checks of replicas that start together.
        delay=lambda: secrets.randbelow(int(seconds * 1000)) / 1000,
        is_upkeep=True,
    )
