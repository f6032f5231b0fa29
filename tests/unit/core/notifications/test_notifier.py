"""One of several processes delivers; another takes over; endpoints come and go while it runs."""

import asyncio
import itertools
from datetime import timedelta

import pytest

from core.coordination.lease import Lease
from core.errors import StorageUnavailableError
from core.model.events import EventAction, Occurrence, Origin
from core.notifications.endpoint import EventEndpoint
from core.notifications.notifier import Notifier
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder, RecorderOptions
from core.notifications.upkeep import Bounds, Upkeep
from core.store import layout
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.notifications import ScriptedReceiver

TTL = 15.0
POLL = 2.0
BOUNDS = Bounds(bytes_max=10**9, age_max=timedelta(minutes=2), dead_age_max=timedelta(days=30))


class Process:
    """A process that records and delivers."""

    def __init__(self, storage, time, name, ids, *, bounds=BOUNDS):
        self.outbox = Outbox(storage, process=lambda: name, now=time.now)
        self.recorder = EventRecorder(
            self.outbox, RecorderOptions(), source=dict, now=time.now, new_id=lambda: str(next(ids))
        )
        lease = Lease(
            storage, layout.lease("notifications"), owner_id=lambda: name, ttl=TTL, clock=time.clock, sleep=time.sleep
        )
        self.notifier = Notifier(
            self.outbox,
            self.recorder,
            lease,
            Upkeep(self.outbox, bounds, now=time.now),
            poll_seconds=POLL,
            contend_seconds=TTL / 2,
            clock=time.clock,
            sleep=time.sleep,
        )
        self.task: asyncio.Task[None]

    def start(self):
        self.task = asyncio.create_task(self.notifier.run())

    async def push(self, repository="a"):
        await self.recorder.emit([Occurrence(action=EventAction.PUSH, repository=repository)], Origin())

    def numbers(self, name="e"):
        return next(each for each in self.notifier.stats().endpoints if each.name == name)

    async def stop(self):
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
def receiver():
    return ScriptedReceiver()


@pytest.fixture
async def start(storage, time, receiver):
    processes: list[Process] = []
    ids = itertools.count(1)

    def begin(*receivers):
        process = Process(storage, time, f"p{len(processes)}", ids)
        endpoints = [EventEndpoint(name="e", receiver=receiver)]
        endpoints += [EventEndpoint(name=f"e{number}", receiver=each) for number, each in enumerate(receivers)]
        process.notifier.use(endpoints, RecorderOptions())
        process.start()
        processes.append(process)
        return process

    yield begin
    for process in processes:
        await process.stop()


async def test_own_events_are_delivered_at_once(time, receiver, start):
    process = start()
    await time.advance(1)
    await process.push()
    await time.advance(0)
    assert receiver.taken_ids() == ["1"]
    assert process.notifier.stats().is_delivering


async def test_events_of_other_processes_are_delivered_by_one_process_in_order(time, receiver, start):
    first, second = start(), start()
    await time.advance(5)
    assert [each.notifier.stats().is_delivering for each in (first, second)] == [True, False]
    for number in range(10):
        await (first, second)[number % 2].push()
        await time.advance(0.1)
    await time.advance(POLL)
    assert [event["id"] for event in receiver.tries] == [str(number) for number in range(1, 11)]


async def test_other_process_takes_over_from_a_killed_one(storage, time, receiver, start):
    first = start()
    await time.advance(1)
    # A kill leaves the lease behind.
    lease = await storage.read(layout.lease("notifications"))
    await first.stop()
    await storage.write(layout.lease("notifications"), lease)
    second = start()
    await first.push()
    await time.advance(TTL)
    assert receiver.taken_ids() == []
    await time.advance(1.5 * TTL)
    assert receiver.taken_ids() == ["1"]
    assert second.notifier.stats().is_delivering


async def test_process_that_ends_releases_the_lease(time, receiver, start):
    first, second = start(), start()
    await time.advance(1)
    await first.stop()
    await first.push()
    await time.advance(TTL / 2)
    assert receiver.taken_ids() == ["1"]
    assert second.notifier.stats().is_delivering


async def test_endpoint_that_is_down_does_not_block_another(time, receiver, start):
    down = ScriptedReceiver(lambda _event: "refused")
    process = start(down)
    await time.advance(1)
    for _ in range(30):
        await process.push()
        await time.advance(1)
    assert len(receiver.taken_ids()) == 30
    assert down.taken == []
    assert process.numbers("e0").is_down
    assert not process.numbers().is_down
    await time.advance(30)
    assert (process.numbers().queued, process.numbers("e0").queued) == (0, 30)
    assert process.numbers("e0").lag_seconds > 30


async def test_endpoints_can_change_at_run_time(time, receiver, start):
    process = start()
    await time.advance(1)
    replacement = ScriptedReceiver()
    process.notifier.use([EventEndpoint(name="new", receiver=replacement)], RecorderOptions())
    await process.push()
    await asyncio.sleep(0.05)
    await time.advance(5)
    assert (receiver.taken_ids(), replacement.taken_ids()) == ([], ["1"])
    process.notifier.use([], RecorderOptions())
    await process.push()
    await time.advance(5)
    assert replacement.taken_ids() == ["1"]


async def test_counts_of_an_endpoint_continue_when_it_returns(time, receiver, start):
    process = start()
    await time.advance(1)
    await process.push()
    await time.advance(1)
    process.notifier.use([], RecorderOptions())
    assert process.notifier.stats().endpoints == []
    process.notifier.use([EventEndpoint(name="e", receiver=receiver)], RecorderOptions())
    assert (process.numbers().recorded, process.numbers().delivered) == (1, 1)


async def test_without_endpoints_no_request_is_made(storage, time, start):
    process = start()
    process.notifier.use([], RecorderOptions())
    await asyncio.sleep(0.05)
    await time.advance(100)
    assert [key async for key, _ in storage.walk("/")] == []


async def test_finish_delivers_pending_events(storage, time, receiver, start):
    process = start()
    await process.stop()
    await process.push()
    await process.notifier.finish(1.0)
    assert receiver.taken_ids() == ["1"]
    assert [key async for key, _ in storage.walk("/")] == []


async def test_finish_leaves_the_rest_in_the_outbox(time, receiver, start):
    process = start()
    await process.stop()
    await process.push()
    receiver.answer = lambda _event: "refused"
    await process.notifier.finish(0.2)
    assert len(receiver.tries) == 1
    [batch] = await process.outbox.queued("e")
    assert batch.number == 1


async def test_finish_leaves_delivery_to_the_process_with_the_lease(time, receiver, start):
    first, second = start(), start()
    await time.advance(1)
    await second.stop()
    await second.push()
    await second.notifier.finish(1.0)
    assert receiver.taken_ids() == []
    await time.advance(POLL)
    assert receiver.taken_ids() == ["1"]
    assert first.notifier.stats().is_delivering


async def test_events_of_a_removed_endpoint_expire(storage, time, start):
    process = start()
    await process.outbox.record({"gone": [{"id": "x", "action": "push", "target": {"repository": "a"}}]})
    await time.advance(200)
    assert await process.outbox.queued("gone") == []
    assert len(await process.outbox.dead("gone")) == 1


async def test_finish_with_nothing_to_deliver_costs_one_listing(storage, time, receiver):
    counting = FaultyBlobStorage(storage)
    process = Process(counting, time, "p", itertools.count(1))
    process.notifier.use([EventEndpoint(name="e", receiver=receiver)], RecorderOptions())
    await process.notifier.finish(1.0)
    assert [operation.partition(" ")[0] for operation in counting.operations] == ["list_children"]


async def test_finish_ends_in_time_when_the_endpoint_hangs(time, receiver, start):
    process = start()
    await process.stop()
    await process.push()

    async def hang(_body):
        await asyncio.Event().wait()

    receiver.post = hang
    async with asyncio.timeout(60):
        await process.notifier.finish(0.05)
    [batch] = await process.outbox.queued("e")
    assert batch.number == 1


async def test_finish_without_endpoints_does_nothing(storage, time, start):
    process = start()
    await process.stop()
    process.notifier.use([], RecorderOptions())
    await process.notifier.finish(1.0)
    assert [key async for key, _ in storage.walk("/")] == []


async def test_failing_outbox_is_raised_to_the_caller(time, receiver, start):
    process = start()
    await time.advance(1)

    async def fail(_endpoint, *, limit=None):
        raise StorageUnavailableError("down")

    process.outbox.queued = fail
    await time.advance(5)
    assert isinstance(process.task.exception(), StorageUnavailableError)
    assert not process.notifier.stats().is_delivering
