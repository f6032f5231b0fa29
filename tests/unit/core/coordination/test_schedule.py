"""A job that replicas share: due or not, by the store's time, done by one of them."""

import asyncio
from datetime import timedelta

import pytest

from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.errors import StorageUnavailableError
from core.store import layout

INTERVAL = timedelta(hours=24)


def make_schedule(storage, time, owner_id="a"):
    lease = Lease(storage, layout.lease("test"), owner_id=lambda: owner_id, ttl=30, clock=time.clock, sleep=time.sleep)
    return SharedSchedule(storage, lease, key=layout.job("test"), interval=INTERVAL)


class Work:
    def __init__(self):
        self.times = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, now):
        self.times.append(now)
        await self.gate.wait()
        return "done"


async def test_job_runs_once_per_interval_on_any_replica(storage, time):
    work = Work()
    replicas = [make_schedule(storage, time, owner_id) for owner_id in "abc"]
    for _ in range(49):
        for replica in replicas:
            await replica.run_if_due(work)
        await time.advance(3600)
    assert [at - work.times[0] for at in work.times] == [timedelta(0), INTERVAL, INTERVAL * 2]
    assert await storage.read(layout.job("test")) == b"done"


async def test_restarted_replica_finds_the_last_run(storage, time):
    work = Work()
    assert await make_schedule(storage, time).run_if_due(work)
    assert not await make_schedule(storage, time, "again").run_if_due(work)


async def test_other_replicas_skip_a_running_job(storage, time):
    work = Work()
    work.gate.clear()
    first, second = make_schedule(storage, time, "a"), make_schedule(storage, time, "b")
    running = asyncio.create_task(first.run_if_due(work))
    for _ in range(20):
        await time.advance(10)
        assert not await second.run_if_due(work)
    work.gate.set()
    assert await running
    assert len(work.times) == 1


async def test_job_of_a_dead_replica_is_taken_over(storage, time):
    stuck, work = Work(), Work()
    stuck.gate.clear()
    running = asyncio.create_task(make_schedule(storage, time, "dead").run_if_due(stuck))
    await time.advance(1)
    left = await storage.read(layout.lease("test"))
    running.cancel()
    await asyncio.wait([running])
    # A killed process does not release.
    await storage.write(layout.lease("test"), left)
    other = make_schedule(storage, time, "b")
    assert not await other.run_if_due(work)
    await time.advance(60)
    taking = asyncio.create_task(other.run_if_due(work))
    await time.advance(60)
    assert await taking


async def test_failed_job_is_retried(storage, time):
    schedule = make_schedule(storage, time)

    async def fail(_now):
        raise StorageUnavailableError("down")

    with pytest.raises(StorageUnavailableError):
        await schedule.run_if_due(fail)
    assert await schedule.run_if_due(Work())


async def test_urgent_work_runs_before_the_interval_is_over(storage, time):
    work = Work()
    schedule = make_schedule(storage, time)
    assert await schedule.run_if_due(work)
    assert not await schedule.run_if_due(work)
    assert await schedule.run_if_due(work, is_urgent=True)
    assert len(work.times) == 2
