"""Retention in the server: one of all replicas applies the rules, and every process records pulls."""

from collections.abc import Mapping
from typing import Final

from core.coordination.schedule import SharedSchedule
from core.model.events import Actor
from core.registry.facade import Registry
from core.retention.pulls import PullRecorder
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import shared_job
from entrypoints.retention_run import apply_rules

FLUSH_SECONDS: Final = 900.0
"""Interval at which pulls are written; a killed process loses those since the last write."""
SERVER: Final = Actor("the server")
"""Actor in the records of deletions."""


def retention_job(registry: Registry, schedule: SharedSchedule, *, interval_seconds: float) -> Job:
    """Return the job that applies the rules; every replica schedules it, and each run is done by one of them.

    Args:
        registry: holds the rules and the tags.
        schedule: shared by all replicas, created with the same interval.
        interval_seconds: interval between two runs.
    """

    async def work() -> Mapping[str, object]:
        return await apply_rules(registry, by=SERVER)

    return shared_job(
        schedule,
        work,
        name="retention",
        interval_seconds=interval_seconds,
    )


def pull_recording_job(recorder: PullRecorder) -> Job:
    """Return the job that writes the pulls served by this process; every process runs it."""

    async def flush() -> None:
        await recorder.flush()

    return Job(
        name="pull recording",
        run=flush,
        every=FLUSH_SECONDS,
        # The first run shows immediately that pulls are recorded from now on.
        finish=flush,
    )
