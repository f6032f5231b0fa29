"""Measurements of storage use by servers: periodically and on request, one at a time over all replicas."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from core.coordination.budget import Rates
from core.coordination.schedule import SharedSchedule
from core.usage.records import UsageRecords
from entrypoints.collection_run import progress_fields
from entrypoints.jobs.background import Job
from entrypoints.jobs.collection import options_of
from entrypoints.jobs.shared import shared_job
from entrypoints.usage_run import new_meter

if TYPE_CHECKING:
    from config.container import ServerApplication
    from core.usage.measuring import UsageMeter

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 300.0
"""Interval at which a process reads the last measurement for its metrics."""
NAME: Final = "measurement of storage use"
"""Description for the log and for refusals."""


def usage_jobs(
    application: "ServerApplication", *, observe: Callable[[Mapping[str, Any]], None] | None
) -> Sequence[Job]:
    """Return the jobs of a server, as configured.

    Args:
        application: the registry.
        observe: receives measurements, for metrics; None if metrics are disabled.
    """
    jobs: list[Job] = []
    if seconds := application.settings.storage.usage.interval_seconds:
        schedule = application.usage_schedule
        jobs.append(shared_job(schedule, server_work(application, schedule), name=NAME, interval_seconds=seconds))
    if observe is not None:
        jobs.append(usage_metrics_job(UsageRecords(application.storage), observe))
    return jobs


def usage_metrics_job(records: UsageRecords, observe: Callable[[Mapping[str, Any]], None]) -> Job:
    """Return the job that publishes the last measurement of any process. One request per run."""

    async def look() -> None:
        if (last := await records.last()) is not None:
            observe(last.store)

    return Job(name="storage use check", run=look, every=LOOK_SECONDS)


def server_work(
    application: "ServerApplication", schedule: SharedSchedule
) -> Callable[[], Awaitable[Mapping[str, object]]]:
    """Return the function that does one run under a schedule; it keeps to the rates of scheduled collections."""
    settings = application.settings.storage.garbage_collection
    rates = Rates(
        requests_per_second=settings.requests_per_second or None, bytes_per_second=settings.bytes_per_second or None
    )

    def meter() -> "UsageMeter":
        return new_meter(
            application,
            options_of(settings),
            rates=rates,
            observe=lambda report: schedule.note(progress_fields(report)),
            goes_on=lambda: schedule.is_held,
        )

    return usage_work(meter, schedule, UsageRecords(application.storage))


def usage_work(
    new_meter: "Callable[[], UsageMeter]", schedule: SharedSchedule, records: UsageRecords
) -> Callable[[], Awaitable[Mapping[str, object]]]:
    """Return the function that does one run, stores the result, and returns its counts.

    Args:
        new_meter: returns the meter of a run.
        schedule: holds the lease of the run. Without the lease, the result is incomplete and is not stored.
        records: receives the result.
    """

    async def work() -> Mapping[str, object]:
        measurement = await new_meter().measure()
        if schedule.is_held:
            await records.save(measurement)
        usage = measurement.store
        fields = {"blobs": usage.blobs.count, "bytes": usage.blobs.size, "seconds": round(usage.seconds, 1)}
        _logger.info("storage use measured", extra=fields)
        return fields

    return work
