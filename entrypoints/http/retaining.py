"""Retention beside the requests: rules are applied by one of all replicas, pulls are recorded by every process."""

import json
import secrets
from datetime import datetime
from typing import Final

from core.ports.event_sink import EventSink
from core.pulls import PullRecorder
from core.registry import Registry
from core.schedule import SharedSchedule
from entrypoints.audit_trail import AuditTrail
from entrypoints.http.background import Job
from entrypoints.retaining import apply_rules

LOOK_SECONDS: Final = 600.0
"""How often a process looks whether it is time to apply the rules, at most."""
FLUSH_SECONDS: Final = 900.0
"""How often what was pulled is written: what a killed process loses."""
_SECONDS_MIN: Final = 0.1
SERVER: Final = "the server"
"""Who deletes, for records."""


def retention_job(
    registry: Registry, schedule: SharedSchedule, events: EventSink, *, audit: AuditTrail, interval_seconds: float
) -> Job:
    """Return the job that applies the rules; every replica has it, and each time one of them does it.

    Args:
        registry: has the rules and the tags.
        schedule: shared by all replicas, made with the same interval.
        events: told of each tag that goes.
        audit: likewise.
        interval_seconds: how often.
    """
    every = max(_SECONDS_MIN, min(interval_seconds, LOOK_SECONDS))

    async def work(_now: datetime) -> str:
        return json.dumps(dict(await apply_rules(registry, events, by=SERVER, audit=audit)))

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
