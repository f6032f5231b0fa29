"""Periodic jobs that every replica schedules, and of which each run is done by one of them."""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

from core.coordination.schedule import SharedSchedule
from entrypoints.jobs.background import Job

LOOK_SECONDS: Final = 600.0
"""Maximum interval at which a process checks whether a run is due; also the maximum delay of its first check."""
_LOOK_SECONDS_MIN: Final = 0.1


def shared_job(
    schedule: SharedSchedule,
    work: Callable[[], Awaitable[Mapping[str, object]]],
    *,
    name: str,
    interval_seconds: float,
    look_seconds: float = LOOK_SECONDS,
    is_upkeep: bool = True,
    wait: Callable[[], Awaitable[None]] | None = None,
) -> Job:
    """Return a job that runs `work` when the schedule is due.

    Args:
        schedule: shared by all replicas, created with the same interval.
        work: does one run, and returns counts, which are stored with the time of the run.
        name: description for the log.
        interval_seconds: interval between two runs.
        look_seconds: maximum interval at which a process checks whether a run is due.
        is_upkeep: whether the job changes the store without a client's request.
        wait: called before each further check while another replica runs the job; None to leave the job to it.
    """
    every = max(_LOOK_SECONDS_MIN, min(interval_seconds, look_seconds))

    async def report(_now: datetime) -> str:
        return json.dumps(dict(await work()))

    async def run() -> None:
        while not await schedule.run_if_due(report) and schedule.is_awaited and wait is not None:
            await wait()

    return scheduled_job(run, name=name, every=every, is_upkeep=is_upkeep)


def scheduled_job(run: Callable[[], Awaitable[None]], *, name: str, every: float, is_upkeep: bool = True) -> Job:
    """Return a job that checks at an interval whether a run is due.

    Args:
        run: checks whether a run is due, and does it.
        name: description for the log.
        every: interval between two checks.
        is_upkeep: whether the job changes the store without a client's request.
    """
    return Job(
        name=name,
        run=run,
        every=every,
        is_upkeep=is_upkeep,
        # A random delay spreads the checks of replicas that start together.
        delay=lambda: secrets.randbelow(max(1, int(every * 1000))) / 1000,
    )
