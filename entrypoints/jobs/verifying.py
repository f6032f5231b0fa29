"""Periodic verification of the store by one of all replicas (`storage.maintenance.verify`)."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from core.coordination.schedule import SharedSchedule
from core.verification.announcement import QuarantineAnnouncements
from core.verification.findings import Finding
from core.verification.journal import Checkpoint
from core.verification.rules import VerificationOptions
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import shared_job
from entrypoints.observability.jobs import VerificationObserver

if TYPE_CHECKING:
    from core.verification.verifier import VerificationProgress, Verifier

_logger = logging.getLogger(__name__)


def verification_job(
    new_verifier: "Callable[[], Verifier]",
    announcements: QuarantineAnnouncements,
    schedule: SharedSchedule,
    *,
    options: VerificationOptions,
    interval_seconds: float,
    observer: VerificationObserver | None = None,
) -> Job:
    """Return the verification job; every replica schedules it, and each run is done by one of them.

    If a process stops during a run, the replica that checks next resumes the run.

    Args:
        new_verifier: returns the verifier of a run, with its budget.
        announcements: announces the content that repairs remove.
        schedule: shared by all replicas, and with the command for the same options.
        options: options of the verification.
        interval_seconds: interval of the schedule.
        observer: receives the progress, if metrics are enabled.
    """
    work = verification_work(new_verifier, announcements, schedule, options=options, observer=observer)
    return shared_job(
        schedule,
        work,
        name="verification",
        interval_seconds=interval_seconds,
        is_upkeep=options.repair,
    )


def verification_work(
    new_verifier: "Callable[[], Verifier]",
    announcements: QuarantineAnnouncements,
    schedule: SharedSchedule,
    *,
    options: VerificationOptions,
    observer: VerificationObserver | None = None,
) -> Callable[[], Awaitable[Mapping[str, object]]]:
    """Return the function that does one run and returns its counts; see `verification_job`."""

    def report(progress: "VerificationProgress") -> None:
        schedule.note(progress_fields(progress))
        if progress.is_resumed:
            _logger.info("verification resumed", extra={"phase": progress.phase})
        if observer is not None:
            observer.progress(progress)

    async def work() -> Mapping[str, object]:
        counted = await new_verifier().run(options, on_finding=_log_finding, on_progress=report)
        await announcements.finish()
        if observer is not None:
            observer.done(counted)
        counts = _counts(counted)
        _logger.log(logging.WARNING if counted.left else logging.INFO, "verification finished", extra=counts)
        return counts

    return work


def progress_fields(progress: "VerificationProgress") -> dict[str, object]:
    """Return the progress of a running verification, for its lease (see `Lease.note`)."""
    return {"phase": progress.phase.value, "fraction": progress.fraction} | _counts(progress.counted)


def _counts(counted: Checkpoint) -> dict[str, object]:
    names = ("blobs", "blob_bytes", "repositories", "manifests", "damage", "left", "notes")
    return {name: value for name, value in asdict(counted).items() if name in names}


def _log_finding(finding: Finding) -> None:
    document = finding.as_json()
    level = logging.ERROR if finding.is_left else logging.WARNING if finding.is_damage else logging.INFO
    _logger.log(level, "verification: %s: %s", finding.kind, finding.detail, extra={"finding": document})
