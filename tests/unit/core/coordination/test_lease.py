"""Leases: at most one holder, whatever dies or stands still in between."""

import asyncio
import random

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.coordination.lease import Lease
from core.errors import StorageUnavailableError
from core.ports.blob_storage import SMALL_OBJECT_BYTES_MAX
from core.store import layout
from tests.support.faulty_blob_storage import FaultyBlobStorage

KEY = layout.lease("test")
TTL = 30.0


class SlowBlobStorage(InMemoryBlobStorage):
    """Takes its time for the operations on leases, before and after each has its effect."""

    def __init__(self, time, *, exclusive=True, latency=lambda: 0.0):
        super().__init__(now=time.now)
        self.creates_exclusively = exclusive
        self._time = time
        self.latency = latency

    async def _wait(self):
        seconds = self.latency()
        if seconds:
            await self._time.sleep(seconds)

    @override
    async def read(self, key, *, limit=SMALL_OBJECT_BYTES_MAX):
        await self._wait()
        try:
            return await super().read(key, limit=limit)
        finally:
            await self._wait()

    @override
    async def write(self, key, content, *, durable=True):
        await self._wait()
        await super().write(key, content, durable=durable)
        await self._wait()

    @override
    async def create(self, key, content):
        await self._wait()
        is_created = self.creates_exclusively is False or KEY not in self._objects
        if is_created:
            await InMemoryBlobStorage.write(self, key, content)
        await self._wait()
        return is_created


@pytest.fixture(params=[True, False], ids=["exclusive", "last-writer-wins"])
def storage(request, time):
    return SlowBlobStorage(time, exclusive=request.param)


def make_lease(storage, time, owner_id="a"):
    return Lease(storage, KEY, owner_id=lambda: owner_id, ttl=TTL, clock=time.clock, sleep=time.sleep)


async def finish(time, awaitable, *, seconds=TTL):
    """Let time pass until `awaitable` is done."""
    task = asyncio.ensure_future(awaitable)
    passed = 0.0
    while not task.done() and passed < seconds:
        await time.advance(0.5)
        passed += 0.5
    return await asyncio.wait_for(task, 60)


async def test_free_lease_is_taken(storage, time):
    lease = make_lease(storage, time)

    assert await finish(time, lease.try_acquire())
    assert lease.is_held
    assert await lease.owner() == "a"


async def test_two_acquirers_at_once_do_not_both_hold(storage, time):
    first, second = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    storage.latency = lambda: 0.1

    async def both():
        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(lease.try_acquire()) for lease in (first, second)]
        return [task.result() for task in tries]

    assert sorted(await finish(time, both())) == [False, True]
    assert [first.is_held, second.is_held].count(True) == 1


async def test_renewed_lease_is_not_taken_over(storage, time):
    holder, contender = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    await finish(time, holder.try_acquire())
    keeper = asyncio.create_task(holder.keep())

    assert not await finish(time, contender.acquire(TTL * 10), seconds=TTL * 12)
    assert holder.is_held
    keeper.cancel()


async def test_dead_holder_is_replaced_by_one_of_two(storage, time):
    holder = make_lease(storage, time, "dead")
    await finish(time, holder.try_acquire())
    contenders = [make_lease(storage, time, "b"), make_lease(storage, time, "c")]

    async def both():
        async with asyncio.TaskGroup() as group:
            for lease in contenders:
                group.create_task(acquire_and_keep(lease))

    race = asyncio.create_task(both())
    await time.advance(TTL)
    assert not any(lease.is_held for lease in contenders)
    await time.advance(TTL * 2)
    assert [lease.is_held for lease in contenders].count(True) == 1
    race.cancel()


async def acquire_and_keep(lease):
    await lease.acquire(TTL * 4)
    await lease.keep()


async def test_paused_holder_gives_up_before_others_may_take_over(storage, time):
    holder, contender = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    await finish(time, holder.try_acquire())
    taking = asyncio.create_task(contender.acquire(TTL * 4))

    while not contender.is_held:
        await time.advance(0.25)
        assert not (holder.is_held and contender.is_held)
    assert not holder.is_held
    assert not await holder.renew()
    assert await taking


async def test_lease_that_may_be_held_is_not_overwritten(storage, time):
    holder, contender = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    await finish(time, holder.try_acquire())
    taking = asyncio.create_task(contender.acquire(TTL * 4))

    while holder.is_held:
        assert await holder.owner() == "a"
        await time.advance(0.25)
    assert await finish(time, taking, seconds=TTL * 4)


async def test_late_write_does_not_acquire(time):
    """On a store where the last writer wins, one that stood still before writing finds its own content, and yields."""
    storage = SlowBlobStorage(time, exclusive=False)
    first, late = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    pauses = iter([0.0, 0.0, TTL / 2])
    storage.latency = lambda: next(pauses, 0.0)
    trying = asyncio.create_task(late.try_acquire())
    await time.advance(0)

    assert await finish(time, first.try_acquire())
    assert not await finish(time, trying)
    assert first.is_held
    assert not late.is_held


async def test_write_that_took_too_long_does_not_acquire(storage, time):
    """A process that stands still inside its renewal overwrites the new holder; then both detect it."""
    holder, contender = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    await finish(time, holder.try_acquire())
    pauses = iter([0.0, 0.0, TTL * 3])
    storage.latency = lambda: next(pauses, 0.0)
    renewing = asyncio.create_task(holder.renew())
    await time.advance(0)

    assert await finish(time, contender.acquire(TTL * 4), seconds=TTL * 3)
    keeper = asyncio.create_task(contender.keep())
    await time.advance(TTL * 3)
    assert await renewing is False
    assert not holder.is_held
    assert not contender.is_held
    await keeper


async def test_released_lease_is_free_at_once(storage, time):
    holder, contender = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    await finish(time, holder.try_acquire())
    await finish(time, contender.try_acquire())

    await holder.release()

    assert not holder.is_held
    assert await finish(time, contender.try_acquire())


async def test_release_of_a_lost_lease_keeps_the_new_one(storage, time):
    holder, contender = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    await finish(time, holder.try_acquire())
    assert await finish(time, contender.acquire(TTL * 4), seconds=TTL * 4)

    await holder.release()

    assert await contender.owner() == "b"


async def test_release_keeps_a_foreign_object(storage, time):
    """Removing a lease by hand allows another process to take it, long before its holder would have lost it."""
    holder, contender = make_lease(storage, time, "a"), make_lease(storage, time, "b")
    await finish(time, holder.try_acquire())
    await storage.delete([KEY])
    assert await finish(time, contender.try_acquire())
    assert holder.is_held

    await holder.release()

    assert not holder.is_held
    assert await contender.owner() == "b"
    assert await finish(time, contender.renew())


async def test_block_renews_the_lease_and_releases_it(storage, time):
    lease = make_lease(storage, time)
    await finish(time, lease.try_acquire())

    async with lease.keeping():
        await time.advance(TTL * 5)
        assert lease.is_held

    assert not lease.is_held
    assert await lease.owner() is None


async def test_store_that_fails_for_a_moment_does_not_end_the_lease(time):
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now))
    lease = make_lease(storage, time)
    await lease.try_acquire()
    storage.fail_at(1)

    with pytest.raises(StorageUnavailableError):
        await lease.renew()

    assert lease.is_held
    assert await lease.renew()


async def test_renewal_whose_answer_was_lost_is_recognized(time):
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now))
    lease = make_lease(storage, time)
    await lease.try_acquire()
    taken = await storage.inner.read(KEY)
    storage.fail_at(2)
    with pytest.raises(StorageUnavailableError):
        await lease.renew()

    await storage.inner.write(KEY, taken.replace(b'"counter": 1', b'"counter": 2'))

    assert await lease.renew()


async def test_store_that_stays_away_ends_the_lease(time):
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now))
    lease = make_lease(storage, time)
    await lease.try_acquire()
    storage.stop_after(0)
    keeper = asyncio.create_task(lease.keep())

    await time.advance(TTL * 2)

    assert not lease.is_held
    await asyncio.wait_for(keeper, 60)
    await lease.release()


async def test_object_that_is_no_lease_is_taken_over(storage, time):
    await storage.write(KEY, b"\xff not ours")
    lease = make_lease(storage, time)

    assert await lease.owner() == "unknown"
    assert not await lease.try_acquire()
    assert await finish(time, lease.acquire(TTL * 4), seconds=TTL * 4)


@pytest.mark.parametrize("seed", range(12))
async def test_at_most_one_of_three_holds(storage, time, seed):
    """Three that take, keep, drop and forget a lease, on a store that is at times slower than the lease lasts."""
    chance = random.Random(seed)
    pauses = False
    storage.latency = lambda: chance.choice([0.0, 0.01, 0.2, 1.0, chance.random() * TTL * 2 if pauses else 0.05])
    leases = [make_lease(storage, time, owner_id) for owner_id in "abc"]
    workers = [asyncio.create_task(_live(lease, time, chance)) for lease in leases]
    held = 0
    for step in range(1500):
        pauses = step % 500 < 200
        await time.advance(0.4)
        holders = [lease for lease in leases if lease.is_held]
        assert len(holders) <= 1, f"seed {seed}, step {step}"
        held += len(holders)
    assert held > 150
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)


async def _live(lease, time, chance):
    while True:
        if await lease.acquire(TTL):
            keeper = asyncio.create_task(lease.keep())
            await time.sleep(chance.random() * TTL * 2)
            keeper.cancel()
            await asyncio.wait([keeper])
            # Otherwise it is as if the process had died.
            if chance.random() < 0.5:
                await lease.release()
        await time.sleep(chance.random() * TTL)
