"""A lease on a store where the last writer wins, and its requests."""

import asyncio
import time
from contextlib import AsyncExitStack

from core.coordination.lease import Lease
from core.store import layout
from tests.support.scs_server import FakeScsServer
from tests.support.scs_storage import scs_storage

TTL = 3.0


def make_lease(storage, owner_id):
    return Lease(storage, layout.lease("job"), owner_id=owner_id, ttl=TTL, clock=time.monotonic, sleep=asyncio.sleep)


async def test_one_of_three_processes_takes_a_free_lease():
    async with FakeScsServer() as server, AsyncExitStack() as stack:
        storages = [await stack.enter_async_context(scs_storage(server)) for _ in range(3)]
        leases = [make_lease(storage, owner_id) for storage, owner_id in zip(storages, "abc", strict=True)]
        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(lease.try_acquire()) for lease in leases]
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
