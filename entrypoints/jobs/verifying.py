"""Periodic verification of the store by one of all replicas (`storage.maintenance.verify`)."""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Final

from core.coordination.schedule import SharedSchedule
from core.verification.announcement import Announcements
from core.verification.findings import Finding
from core.verification.verifier import Progress, VerificationOptions, Verifier
from entrypoints.jobs.background import Job
from entrypoints.observability.jobs import VerificationObserver

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 600.0
"""Interval at which a process checks whether a run is due; also the maximum delay of its first check."""
_LOOK_SECONDS_MIN: Final = 0.1


def verification_job(
    verifier: Verifier,
    announcements: Announcements,
    schedule: SharedSchedule,
    *,
    options: VerificationOptions,
    interval_seconds: float,
    observer: VerificationObserver | None = None,
) -> Job:
    """Return the verification job; every replica schedules it, and each run is done by one of them.

    If a process stops during a run, the replica that checks next resumes the run.

    Args:
        verifier: verifier, with its budget.
        announcements: announces the content that repairs remove.
        schedule: shared by all replicas, and with the command for the same options.
        options: options of the verification.
        interval_seconds: interval of the schedule.
        observer: receives the progress, if metrics are enabled.
    """
    every = max(_LOOK_SECONDS_MIN, min(interval_seconds, LOOK_SECONDS))

    async def run() -> None:
        await schedule.run_if_due(_work(verifier, announcements, options, observer))

    return Job(
        name="the store is verified",
        run=run,
        every=every,
        # A random delay spreads the checks of replicas that start together.
        delay=lambda: secrets.randbelow(int(every * 1000)) / 1000,
        is_upkeep=options.repair,
    )


def _work(
    verifier: Verifier,
    announcements: Announcements,
    options: VerificationOptions,
    observer: VerificationObserver | None,
) -> Callable[[datetime], Awaitable[str]]:
    def tell(progress: Progress) -> None:
        if progress.is_resumed:
            _logger.info("verification goes on where it was ended", extra={"phase": progress.phase})
        if observer is not None:
            observer.progress(progress)

    async def work(_now: datetime) -> str:
        counted = await verifier.run(options, on_finding=_log_finding, on_progress=tell)
        await announcements.finish()
        if observer is not None:
            observer.done(counted)
        names = ("blobs", "blob_bytes", "repositories", "manifests", "damage", "left", "notes")
        counts = {name: value for name, value in asdict(counted).items() if name in names}
        _logger.log(logging.WARNING if counted.left else logging.INFO, "the store was verified", extra=counts)
        return json.dumps(counts)

    return work


def _log_finding(finding: Finding) -> None:
    document = finding.as_json()
    level = logging.ERROR if finding.is_left else logging.WARNING if finding.is_damage else logging.INFO
    _logger.log(level, "verification: %s: %s", finding.kind, finding.detail, extra={"finding": document})
