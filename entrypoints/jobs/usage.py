"""Measurements of storage use that requests start: in the background, by one process of all replicas at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from core.coordination.budget import Rates
from core.coordination.lease import Lease
from core.errors import StorageError
from core.usage.measurement import Measurement
from core.usage.records import UsageRecords
from entrypoints.jobs.collection import options_of
from entrypoints.usage_run import new_meter

if TYPE_CHECKING:
    from config.container import ServerApplication

_logger = logging.getLogger(__name__)


class UsageRunner:
    """Starts measurements; one per process. Leaving its block ends a running measurement.

    Args:
        measure: measures the store; its argument returns False when the measurement should end early.
        lease: held during a measurement.
        records: receives the result.
    """

    def __init__(
        self, measure: Callable[[Callable[[], bool]], Awaitable[Measurement]], *, lease: Lease, records: UsageRecords
    ) -> None:
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
            usage = measurement.store
            fields = {"blobs": usage.blobs.count, "bytes": usage.blobs.size, "seconds": round(usage.seconds, 1)}
            _logger.info("storage use measured", extra=fields)


def usage_runner(application: "ServerApplication") -> UsageRunner:
    """Return the runner of a server process; it keeps to the rates of scheduled collections."""
    settings = application.settings.storage.garbage_collection
    rates = Rates(
        requests_per_second=settings.requests_per_second or None, bytes_per_second=settings.bytes_per_second or None
    )

    async def measure(goes_on: Callable[[], bool]) -> Measurement:
        return await new_meter(application, options_of(settings), rates=rates, goes_on=goes_on).measure()

    return UsageRunner(measure, lease=application.usage_lease, records=UsageRecords(application.storage))
