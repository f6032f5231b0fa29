"""Delivery to one endpoint: order, retries, backoff and dead letters."""

import asyncio
import json

import pytest

from core.errors import StorageUnavailableError
from core.notifications.delivery import EndpointDelivery
from core.notifications.endpoint import EndpointStats, EventEndpoint
from core.notifications.outbox import Outbox
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.notifications import ScriptedReceiver, each_in_turn, make_event


@pytest.fixture
def outbox(storage, time):
    return Outbox(storage, process=lambda: "p", now=time.now)


class Delivery:
    """An endpoint delivery and its receiver; a new one on the same outbox acts as a restarted process."""

    def __init__(self, outbox, time, answer=lambda _event: 200, *, threshold=3, backoff=10.0):
        self.receiver = ScriptedReceiver(answer)
        self.counts = EndpointStats("e")
        endpoint = EventEndpoint(name="e", receiver=self.receiver, threshold=threshold, backoff_seconds=backoff)
        self.endpoint_delivery = EndpointDelivery(endpoint, outbox, self.counts, clock=time.clock, sleep=time.sleep)
        self.task: asyncio.Task[None]

    def start(self):
        self.task = asyncio.create_task(self.endpoint_delivery.run(2.0))

    async def stop(self):
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def deliver(outbox, time):
    started = []

    def start(answer=lambda _event: 200, **options):
        delivery = Delivery(outbox, time, answer, **options)
        delivery.start()
        started.append(delivery)
        return delivery

    yield start
    for delivery in started:
        await delivery.stop()


async def record(outbox, *ids, repository="a"):
    await outbox.record({"e": [make_event(each, repository) for each in ids]})


async def test_events_arrive_in_order_and_leave_the_outbox(outbox, storage, time, deliver):
    await record(outbox, "1", "2")
    await record(outbox, "3")
    delivery = deliver()
    await time.advance(1)
    assert delivery.receiver.taken_ids() == ["1", "2", "3"]
    assert await outbox.queued("e") == []
    assert [key async for key, _ in storage.walk("/")] == []
    assert delivery.counts.delivered == 3


async def test_delivery_polls_and_is_woken(outbox, time, deliver):
    delivery = deliver()
    await time.advance(1)
    await record(outbox, "1")
    await time.advance(0.5)
    assert delivery.receiver.taken_ids() == []
    await time.advance(1)
    assert delivery.receiver.taken_ids() == ["1"]
    await record(outbox, "2")
    delivery.endpoint_delivery.wake()
    await time.advance(0)
    assert delivery.receiver.taken_ids() == ["1", "2"]


@pytest.mark.parametrize("failure", [500, 503, 404, 401, 429, "no answer"])
async def test_failure_is_retried_until_it_passes(outbox, time, deliver, failure):
    await record(outbox, "1", "2")
    delivery = deliver(each_in_turn(failure, failure, 200))
    await time.advance(5)
    assert [event["id"] for event in delivery.receiver.tries] == ["1", "1", "1", "2"]
    assert delivery.receiver.taken_ids() == ["1", "2"]
    assert delivery.counts.failures == 2


async def test_redirect_answers_count_as_success_as_in_distribution(outbox, time, deliver):
    await record(outbox, "1")
    delivery = deliver(lambda _event: 304)
    await time.advance(1)
    assert (await outbox.queued("e"), len(delivery.receiver.tries)) == ([], 1)


async def test_endpoint_that_is_down_is_tried_once_per_backoff(outbox, time, deliver):
    for repository in "abcdefgh":
        await record(outbox, repository, repository=repository)
    delivery = deliver(lambda _event: "refused", threshold=3, backoff=10.0)
    await time.advance(1)
    soon = len(delivery.receiver.tries)
    assert soon <= 8 + 3, "those under way together, and a few quick retries"
    assert delivery.counts.is_down
    await time.advance(100)
    assert 9 <= len(delivery.receiver.tries) - soon <= 10
    delivery.receiver.answer = lambda _event: 200
    await time.advance(11)
    assert sorted(delivery.receiver.taken_ids()) == list("abcdefgh")
    assert not delivery.counts.is_down


async def test_restart_delivers_the_rest_with_the_same_ids(outbox, time, deliver):
    await record(outbox, "1", "2")
    first = deliver(lambda _event: 500)
    await time.advance(30)
    await first.stop()
    second = deliver()
    await time.advance(1)
    assert second.receiver.taken_ids() == ["1", "2"]


async def test_refused_event_becomes_a_dead_letter_and_delivery_continues(outbox, time, deliver):
    await record(outbox, "1", "bad", "3")
    delivery = deliver(lambda event: 422 if event["id"] == "bad" else 200)
    await time.advance(60)
    assert delivery.receiver.taken_ids() == ["1", "3"]
    [name] = await outbox.dead("e")
    letter = await outbox.dead_letter("e", name)
    assert (letter.document["id"], letter.attempts) == ("bad", 5)
    assert "422" in letter.reason
    assert await outbox.queued("e") == []
    assert delivery.counts.buried == 1


async def test_event_that_breaks_its_receiver_is_given_up_while_others_arrive(outbox, time, deliver):
    await record(outbox, "bad", "after", repository="broken")
    delivery = deliver(lambda event: 500 if event["id"] == "bad" else 200, threshold=100, backoff=1.0)
    await time.advance(4)
    for number in range(5):
        await record(outbox, f"other-{number}", repository="fine")
        await time.advance(5)
    assert "after" in delivery.receiver.taken_ids("broken")
    [name] = await outbox.dead("e")
    assert (await outbox.dead_letter("e", name)).document["id"] == "bad"


async def test_long_outage_makes_no_dead_letters(outbox, time, deliver):
    for repository in "abc":
        await record(outbox, repository, repository=repository)
    delivery = deliver(lambda _event: 503, threshold=3, backoff=1.0)
    await time.advance(1000)
    assert await outbox.dead("e") == []
    delivery.receiver.answer = lambda _event: 200
    await time.advance(10)
    assert sorted(delivery.receiver.taken_ids()) == ["a", "b", "c"]


async def test_blocked_repository_does_not_block_others(outbox, time, deliver):
    await record(outbox, "bad", repository="a")
    await record(outbox, "good", repository="b")
    hanging = asyncio.Event()

    class Hanging(ScriptedReceiver):
        async def post(self, body):
            if json.loads(body)["events"][0]["id"] == "bad":
                await hanging.wait()
            return await super().post(body)

    delivery = Delivery(outbox, time)
    delivery.receiver = Hanging()
    endpoint = EventEndpoint(name="e", receiver=delivery.receiver)
    endpoint_delivery = EndpointDelivery(endpoint, outbox, delivery.counts, clock=time.clock, sleep=time.sleep)
    task = asyncio.create_task(endpoint_delivery.run(2.0))
    await time.advance(1)
    assert delivery.receiver.taken_ids() == ["good"]
    hanging.set()
    await time.advance(1)
    assert delivery.receiver.taken_ids() == ["good", "bad"]
    task.cancel()
    await asyncio.wait([task])


async def test_event_taken_out_by_hand_is_not_sent(outbox, time, deliver):
    await record(outbox, "stuck", "next")
    delivery = deliver(lambda event: 500 if event["id"] == "stuck" else 200, threshold=1, backoff=1.0)
    await time.advance(5)
    [name] = await outbox.queued("e")
    await outbox.take_out("e", name, {"stuck"})
    await time.advance(60)
    assert delivery.receiver.taken_ids() == ["next"]


@pytest.mark.parametrize("operation", [1, 2, 3])
async def test_failing_outbox_loses_nothing_and_repeats_nothing(storage, time, operation):
    await record(Outbox(storage, process=lambda: "q", now=time.now), "1", "2")
    faulty = FaultyBlobStorage(storage)
    delivery = Delivery(Outbox(faulty, process=lambda: "p", now=time.now), time)
    faulty.fail_at(operation)
    with pytest.raises(StorageUnavailableError):
        await delivery.endpoint_delivery.deliver_some()
    await delivery.endpoint_delivery.deliver_some()
    assert delivery.receiver.taken_ids() == ["1", "2"]
    assert [key async for key, _ in storage.walk("/")] == []


async def test_memory_holds_only_a_window_of_events(storage, outbox, time, deliver):
    for number in range(100):
        await record(outbox, *(f"{number}-{each}" for each in range(10)), repository=f"r{number}")
    counting = FaultyBlobStorage(storage)
    delivery = Delivery(Outbox(counting, process=lambda: "q", now=time.now), time, lambda _event: 500)
    delivery.start()
    await time.advance(1)
    await delivery.stop()
    # Each batch has ten events, and another process recorded it, so that reading it takes a request.
    assert 0 < len([each for each in counting.operations if each.startswith("read ")]) * 10 <= 256 + 10


async def test_kill_repeats_no_more_than_fifty_batches(outbox, time, deliver):
    for number in range(120):
        await record(outbox, str(number))
    queued_when_sent = []

    class Looking(ScriptedReceiver):
        async def post(self, body):
            queued_when_sent.append(len(await outbox.queued("e")))
            return await super().post(body)

    receiver = Looking()
    endpoint_delivery = EndpointDelivery(
        EventEndpoint(name="e", receiver=receiver), outbox, EndpointStats("e"), clock=time.clock, sleep=time.sleep
    )
    assert await endpoint_delivery.deliver_some()
    assert all(queued - (120 - sent) <= 50 for sent, queued in enumerate(queued_when_sent)), (
        "what is delivered and still in the outbox"
    )
    assert await outbox.queued("e") == []
