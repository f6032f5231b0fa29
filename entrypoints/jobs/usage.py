"""Measurements of storage use by servers: periodically and on request, one at a time over all replicas."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from core.coordination.budget import Rates
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.errors import StorageError
from core.usage.measurement import Measurement
from core.usage.records import UsageRecords
from entrypoints.jobs.background import Job
from entrypoints.jobs.collection import options_of
from entrypoints.jobs.shared import shared_job
from entrypoints.usage_run import new_meter

if TYPE_CHECKING:
    from config.container import ServerApplication

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 300.0
"""Interval at which a process reads the last measurement for its metrics."""

Measure = Callable[[Callable[[], bool]], Awaitable[Measurement]]
"""Measures the store; the argument returns False when the measurement should end early."""


class UsageRunner:
    """Starts measurements; one per process. Leaving its block ends a running measurement.

    Args:
        measure: measures the store.
        lease: held during a measurement.
        records: receives the result.
    """

    def __init__(self, measure: Measure, *, lease: Lease, records: UsageRecords) -> None:
        self.records = records
        self._measure = measure
        self._lease = lease
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Do nothing; measurements begin with `start`."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End a running measurement."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def is_running(self) -> bool:
        """Whether this process is measuring."""
        return self._task is not None and not self._task.done()

    async def start(self) -> bool:
        """Begin a measurement, unless one is running in any process; return whether it began.

        Costs the requests of `Lease.try_acquire`. After the process that measured was killed, the first calls return
        False.

        Raises:
            StorageError: the store failed.
        """
        async with self._starting:
            if self.is_running or not await self._lease.try_acquire():
                return False
            self._task = asyncio.create_task(self._run())
        return True

    async def _run(self) -> None:
        try:
            async with self._lease.keeping():
                measurement = await self._measure(lambda: self._lease.is_held)
                if self._lease.is_held:
                    await self.records.save(measurement)
        except StorageError as error:
            _logger.warning("storage use not measured: %s", error)
        except Exception:
            # A defect, which nobody else would log.
            _logger.exception("storage use not measured")
        else:
            _log_measurement(measurement)


def usage_runner(application: "ServerApplication") -> UsageRunner:
    """Return the runner of a server process."""
    return UsageRunner(
        _measuring(application), lease=application.usage_lease, records=UsageRecords(application.storage)
    )


def usage_jobs(
    application: "ServerApplication", *, observe: Callable[[Mapping[str, Any]], None] | None
) -> Sequence[Job]:
    """Return the jobs of a server, as configured.

    Args:
        application: the registry.
        observe: receives measurements, for metrics; None if metrics are disabled.
    """
    jobs: list[Job] = []
    records = UsageRecords(application.storage)
    if seconds := application.settings.storage.usage.interval_seconds:
        measure = _measuring(application)
        jobs.append(usage_job(application.usage_schedule, measure, records, interval_seconds=seconds))
    if observe is not None:
        jobs.append(usage_metrics_job(records, observe))
    return jobs


def usage_job(schedule: SharedSchedule, measure: Measure, records: UsageRecords, *, interval_seconds: float) -> Job:
    """Return the job that measures periodically; every replica schedules it, and each run is done by one of them."""

    async def work() -> Mapping[str, object]:
        measurement = await measure(lambda: schedule.is_held)
        if schedule.is_held:
            await records.save(measurement)
        return _log_measurement(measurement)

    return shared_job(schedule, work, name="measurement of storage use", interval_seconds=interval_seconds)


def usage_metrics_job(records: UsageRecords, observe: Callable[[Mapping[str, Any]], None]) -> Job:
    """Return the job that publishes the last measurement, whoever made it. One request per run."""

    async def look() -> None:
        if (last := await records.last()) is not None:
            observe(last.store)

    return Job(name="storage use check", run=look, every=LOOK_SECONDS)


def _measuring(application: "ServerApplication") -> Measure:
    """Return the measurement of a server; it keeps to the rates of scheduled collections."""
    settings = application.settings.storage.garbage_collection
    rates = Rates(
        requests_per_second=settings.requests_per_second or None, bytes_per_second=settings.bytes_per_second or None
    )

    async def measure(goes_on: Callable[[], bool]) -> Measurement:
        return await new_meter(application, options_of(settings), rates=rates, goes_on=goes_on).measure()

    return measure


def _log_measurement(measurement: Measurement) -> Mapping[str, object]:
    usage = measurement.store
    fields = {"blobs": usage.blobs.count, "bytes": usage.blobs.size, "seconds": round(usage.seconds, 1)}
    _logger.info("storage use measured", extra=fields)
    return fields
