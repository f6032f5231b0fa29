"""Application of the retention rules, by one of all replicas or by a command, and the recording of pulls."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

from core.collection.run import Hook
from core.coordination.schedule import SharedSchedule
from core.model.events import Actor
from core.registry.facade import Registry
from core.retention.pulls import PullRecorder
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import shared_job

_logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 900.0
"""Interval at which pulls are written; a killed process loses those since the last write."""
CACHE_FLUSH_SECONDS: Final = 60.0
"""The same if there is a pull-through cache, because evictions choose by last use."""
SERVER: Final = Actor("the server")
"""Actor in the records of deletions."""


async def apply_rules(registry: Registry, *, by: Actor) -> Mapping[str, int]:
    """Delete the tags that no rule keeps; return the numbers of repositories and tags checked and of tags deleted.

    Raises:
        StorageError: the store failed; the next run handles the remaining tags.
    """
    counts = {"repositories": 0, "tags": 0, "deleted": 0}
    async for plan in registry.apply_retention(by=by):
        counts["repositories"] += 1
        counts["tags"] += len(plan.verdicts)
        counts["deleted"] += len(plan.removed)
        for state in plan.removed:
            about = {"repository": plan.name, "tag": state.tag, "digest": state.digest}
            _logger.info("tag deleted by retention", extra=about)
    _logger.info("retention rules applied", extra=counts)
    return counts


def retention_hooks(registry: Registry, *, by: Actor) -> tuple[Hook, ...]:
    """Return the hooks that apply retention before a collection, so that content of deleted tags counts as garbage."""
    return (partial(apply_rules, registry, by=by),) if registry.retention.has_rules else ()


def retention_job(registry: Registry, schedule: SharedSchedule, *, interval_seconds: float) -> Job:
    """Return the job that applies the rules; every replica schedules it, and each run is done by one of them.

    Args:
        registry: holds the rules and the tags.
        schedule: shared by all replicas, created with the same interval.
        interval_seconds: interval between two runs.
    """
    work = partial(apply_rules, registry, by=SERVER)
    return shared_job(schedule, work, name="retention", interval_seconds=interval_seconds)


def pull_recording_job(recorder: PullRecorder, *, every_seconds: float = FLUSH_SECONDS) -> Job:
    """Return the job that writes the pulls served by this process; every process runs it."""

    async def flush() -> None:
        await recorder.flush()

    return Job(
        name="pull recording",
        run=flush,
        every=every_seconds,
        # The first run shows immediately that pulls are recorded from now on.
        finish=flush,
    )
