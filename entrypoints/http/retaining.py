"""Retention beside the requests: rules are applied by one of all replicas, pulls are recorded by every process."""

import json
import logging
import secrets
from datetime import datetime
from typing import Final

from core.pulls import PullRecorder
from core.registry import Registry
from core.schedule import SharedSchedule
from entrypoints.http.background import Job

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 600.0
"""How often a process looks whether it is time to apply the rules, at most."""
FLUSH_SECONDS: Final = 900.0
"""How often what was pulled is written: what a killed process loses."""
_SECONDS_MIN: Final = 0.1
SERVER: Final = "retention"
"""Who deletes, for records."""


def retention_job(registry: Registry, schedule: SharedSchedule, *, interval_seconds: float) -> Job:
    """Return the job that applies the rules; every replica has it, and each time one of them does it.

    Args:
        registry: has the rules and the tags.
        schedule: shared by all replicas, made with the same interval.
        interval_seconds: how often.
    """
    every = max(_SECONDS_MIN, min(interval_seconds, LOOK_SECONDS))

    async def work(_now: datetime) -> str:
        counts = {"repositories": 0, "tags": 0, "deleted": 0}
        async for plan in registry.apply_retention(by=SERVER):
            counts["repositories"] += 1
            counts["tags"] += len(plan.verdicts)
            counts["deleted"] += len(plan.going)
            for state in plan.going:
                _logger.info(
                    "tag deleted by retention",
                    extra={"repository": plan.name, "tag": state.tag, "digest": state.digest},
                )
        _logger.info("retention rules applied", extra=counts)
        return json.dumps(counts)

    async def run() -> None:
        await schedule.run_if_due(work)

    return Job(
        name="retention rules are applied",
        run=run,
        every=every,
        # Replicas that start together do not all look at once.
        delay=lambda: secrets.randbelow(int(every * 1000)) / 1000,
        is_upkeep=True,
    )


def pull_recording_job(recorder: PullRecorder) -> Job:
    """Return the job that writes down what this process served; every process has it."""

    async def flush() -> None:
        await recorder.flush()

    return Job(
        name="pulls are recorded",
        run=flush,
        every=FLUSH_SECONDS,
        # The first run shows at once that pulls are recorded from now on.
        finish=flush,
    )
