"""The job that keeps the stored summaries and the history of tags current, by one of all replicas."""

import json
from datetime import datetime
from typing import TYPE_CHECKING

from core.collection.run import Hook
from core.coordination.schedule import SharedSchedule
from core.store.time import store_time
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import scheduled_job

if TYPE_CHECKING:
    from collections.abc import Callable

    # Commands import this module too, and start without storage SDKs.
    from config.container import RegistryApplication
    from core.summaries.folding import SummaryFolding


def summary_hooks(application: "RegistryApplication") -> tuple[Hook, ...]:
    """Return the hooks of a collection, which remove the summaries of repositories that no longer exist."""
    if not application.settings.summaries.enabled:
        return ()

    async def remove_leftovers() -> int:
        return await application.new_folding().remove_leftovers(await store_time(application.storage))

    return (remove_leftovers,)


def folding_job(
    new_folding: "Callable[[], SummaryFolding]", schedule: SharedSchedule, *, interval_seconds: float
) -> Job:
    """Return the job; every replica schedules it, and each run is done by one of them.

    Args:
        new_folding: returns what does the work of one run.
        schedule: shared by all replicas, created with the same interval.
        interval_seconds: interval between two runs.
    """

    async def work(now: datetime) -> str:
        counts = await new_folding().run(now, is_held=lambda: schedule.is_held)
        return json.dumps(dict(counts.as_json()))

    async def run() -> None:
        await schedule.run_if_due(work)

    return scheduled_job(run, name="summaries", every=interval_seconds)
