"""A job that all replicas together do once in a while, however often each of them starts."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from core.errors import ObjectNotFoundError
from core.lease import Lease
from core.ports.blob_storage import BlobStorage


class SharedSchedule:
    """Lets one replica do a job, and none before `interval` has passed since any of them did it.

    When it was done last is told by an object in storage, and how long ago that is by the store's own time: that of the
    lease, which was written a moment ago. One per process and job; used by one task.

    Args:
        storage: what all replicas share.
        lease: held while the job is done.
        key: remembers when that was (`core.layout.job`).
        interval: how often.
    """

    def __init__(self, storage: BlobStorage, lease: Lease, *, key: str, interval: timedelta) -> None:
        self._storage = storage
        self._lease = lease
        self._key = key
        self._interval = interval

    @property
    def is_held(self) -> bool:
        """Whether this process may still do the job: work of many steps asks between them."""
        return self._lease.is_held

    @property
    def is_awaited(self) -> bool:
        """Whether another replica was at work when `run_if_due` last looked."""
        return self._lease.is_awaited

    async def run_if_due(self, work: Callable[[datetime], Awaitable[str]]) -> bool:
        """Do `work` if it is time and nobody else is at it; return whether that was so.

        Call it more often than `interval`: it costs five requests when nothing is due, and one while another replica
        is at work. What raises is tried again at the next call.

        Args:
            work: is given the store's time; what it returns is kept beside the time, for people.

        Raises:
            StorageError: the store failed, here or in `work`.
        """
        if not await self._lease.try_acquire():
            return False
        async with self._lease.keeping():
            now = await self._lease.written_at()
            if not await self._is_due(now):
                return False
            report = await work(now)
            await self._storage.write(self._key, report.encode())
        return True

    async def _is_due(self, now: datetime) -> bool:
        try:
            done_at = (await self._storage.stat(self._key)).modified_at
        except ObjectNotFoundError:
            return True
        return now - done_at >= self._interval
