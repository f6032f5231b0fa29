"""A periodic job that one of several replicas runs, once per interval, regardless of restarts."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from core.coordination.lease import Lease
from core.ports.blob_storage import BlobStorage
from core.store.objects import find


class SharedSchedule:
    """Runs a job on one replica at a time, at most once per `interval` over all replicas.

    An object in storage records the last run. Its age is measured by the store's own clock: the time of the lease
    object, which was written just before. One per process and job; used by one task.

    Args:
        storage: the store that all replicas share.
        lease: held while the job runs.
        key: the object that records the last run (`core.layout.job`).
        interval: minimum time between two runs.
    """

    def __init__(self, storage: BlobStorage, lease: Lease, *, key: str, interval: timedelta) -> None:
        self._storage = storage
        self._lease = lease
        self._key = key
        self._interval = interval

    @property
    def is_held(self) -> bool:
        """Whether this process still holds the lease; a job of many steps checks it between steps."""
        return self._lease.is_held

    @property
    def is_awaited(self) -> bool:
        """Whether another replica held the lease at the last call of `run_if_due`."""
        return self._lease.is_awaited

    def note(self, progress: Mapping[str, object]) -> None:
        """Let other processes see the progress of the running job (see `Lease.note`)."""
        self._lease.note(progress)

    async def run_if_due(self, work: Callable[[datetime], Awaitable[str]], *, is_urgent: bool = False) -> bool:
        """Run `work` if it is due and no other replica runs it; return whether `work` ran.

        Call this more often than `interval`. A call costs five requests when nothing is due, and one while another
        replica runs the job. If `work` raises, the next call tries again.

        Args:
            work: receives the store's time; its result is stored with the time of the run, for information.
            is_urgent: whether the work is due regardless of the last run.

        Raises:
            StorageError: the store failed, here or in `work`.
        """
        if not await self._lease.try_acquire():
            return False
        async with self._lease.keeping():
            now = await self._lease.written_at()
            if not is_urgent and not await self._is_due(now):
                return False
            report = await work(now)
            await self._storage.write(self._key, report.encode())
        return True

    async def _is_due(self, now: datetime) -> bool:
        done = await find(self._storage, self._key)
        return done is None or now - done.modified_at >= self._interval
