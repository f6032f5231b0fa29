"""Runs of a shared job that a request starts, and the state of the job at all replicas."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from core.coordination.job_state import JobState, read_job
from core.coordination.schedule import SharedSchedule
from core.errors import BusyError, StorageError
from core.ports.blob_storage import BlobStorage
from entrypoints.jobs.background import Job

_logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 45.0
"""Time to wait for the lease of a dead process; longer than such a lease remains valid."""
_RETRY_SECONDS: Final = 3.0


class JobControl:
    """Starts a shared job, and shows its state; one per process and job.

    A run continues in the background of this process. It holds the same lease as scheduled runs, so one run takes place
    at a time, and it ends like them when the process stops.

    Args:
        storage: the store that all replicas share.
        schedule: for this object alone, since a lease belongs to one task; with the interval of the scheduled runs.
        work: does one run, and returns counts, which are stored with the time of the run.
        job: the name of the lease.
        name: description for the log and for refusals.
        interval: interval of the scheduled runs; None if there are none.
        is_upkeep: whether the job changes the store.
        sleep: suspends for a number of seconds.
    """

    def __init__(
        self,
        storage: BlobStorage,
        schedule: SharedSchedule,
        work: Callable[[], Awaitable[Mapping[str, object]]],
        *,
        job: str,
        name: str,
        interval: timedelta | None,
        is_upkeep: bool = True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._storage = storage
        self._schedule = schedule
        self._work = work
        self._job = job
        self._name = name
        self._interval = interval
        self._sleep = sleep
        self.is_upkeep = is_upkeep
        self._requests: asyncio.Queue[asyncio.Future[bool]] = asyncio.Queue()
        self._is_busy = False

    @property
    def background(self) -> Job:
        """The job that carries out the requested runs; every process runs it."""
        return Job(name=f"{self._name} on request", run=self._run_next, every=0.0)

    async def state(self) -> JobState:
        """Return the state of the job at all replicas (see `read_job`)."""
        return await read_job(self._storage, self._job)

    def next_at(self, state: JobState) -> datetime | None:
        """Return when the next scheduled run is due; None if there is none, or if it is due now."""
        return None if self._interval is None or state.done_at is None else state.done_at + self._interval

    async def start(self) -> None:
        """Start a run, and return once it has begun.

        Raises:
            BusyError: a run takes place already.
            StorageError: the store failed, and no run has begun.
        """
        if self._is_busy:
            raise await self._busy()
        self._is_busy = True
        begun = asyncio.get_running_loop().create_future()
        self._requests.put_nowait(begun)
        if not await begun:
            raise await self._busy()

    async def _busy(self) -> BusyError:
        return BusyError(f"{self._name} is already running", detail={"by": (await self.state()).holder})

    async def _run_next(self) -> None:
        begun = await self._requests.get()

        async def work(_now: datetime) -> str:
            if not begun.done():
                begun.set_result(True)
            _logger.info("%s started by a request", self._name)
            return json.dumps(dict(await self._work()))

        try:
            await self._run(work)
        except StorageError as error:
            if begun.done():
                _logger.warning("%s started by a request failed: %s", self._name, error)
            else:
                begun.set_exception(error)
        finally:
            self._is_busy = False
            if not begun.done():
                begun.set_result(False)

    async def _run(self, work: Callable[[datetime], Awaitable[str]]) -> None:
        if (await self.state()).holder is not None:
            return
        waited = 0.0
        while not await self._schedule.run_if_due(work, is_urgent=True):
            # A dead process may have left its lease, which is free once it was seen unchanged for long enough.
            if not self._schedule.is_awaited or waited >= PATIENCE_SECONDS:
                return
            await self._sleep(_RETRY_SECONDS)
            waited += _RETRY_SECONDS
