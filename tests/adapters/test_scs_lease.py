"""A lease on a store where the last writer wins, and its requests."""

import asyncio
import time
from contextlib import AsyncExitStack

from core.coordination.lease import Lease
from core.store import layout
from tests.support.scs_server import FakeScsServer
from tests.support.scs_storage import scs_storage

TTL = 3.0


class Waiting:
    """The contenders that wait before they read who wrote last: until each one waits or has given up.

    So the test does not depend on the speed of the machine, and time stands still.
    """

    def __init__(self, contenders: int) -> None:
        self._left = contenders
        self._all_wait = asyncio.Event()

    async def sleep(self, _seconds: float) -> None:
        self.arrive()
        await self._all_wait.wait()

    def arrive(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._all_wait.set()


def make_lease(storage, owner_id, *, clock=time.monotonic, sleep=asyncio.sleep):
    return Lease(storage, layout.lease("job"), owner_id=lambda: owner_id, ttl=TTL, clock=clock, sleep=sleep)


async def test_one_of_three_processes_takes_a_free_lease():
    async with FakeScsServer() as server, AsyncExitStack() as stack:
        storages = [await stack.enter_async_context(scs_storage(server)) for _ in range(3)]
        waiting = Waiting(3)
        leases = [
            make_lease(storage, owner_id, clock=lambda: 0.0, sleep=waiting.sleep)
            for storage, owner_id in zip(storages, "abc", strict=True)
        ]

        async def contend(lease: Lease) -> bool:
            try:
                return await lease.try_acquire()
            finally:
                waiting.arrive()

        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(contend(lease)) for lease in leases]
        assert sorted(task.result() for task in tries) == [False, False, True]
        assert sum(lease.is_held for lease in leases) == 1


async def test_requests_are_counted():
    async with FakeScsServer() as server, scs_storage(server) as storage:
        lease = make_lease(storage, "a")
        assert await lease.try_acquire()
        assert server.counts == {"get_object": 2, "put_object": 1}
        server.log.clear()
        assert await lease.renew()
        assert server.counts == {"get_object": 1, "put_object": 1}
        server.log.clear()
        assert not await make_lease(storage, "b").try_acquire()
        assert server.counts == {"get_object": 1}
