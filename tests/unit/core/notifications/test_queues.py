"""Numbers of undelivered events, and dead letters that are delivered again."""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.notifications import queues
from core.notifications.outbox import Outbox
from core.notifications.queues import queue_state, replay
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.notifications import make_event
from tests.support.simulated_time import SimulatedTime


@pytest.fixture
def storage():
    return FaultyBlobStorage(InMemoryBlobStorage(now=SimulatedTime().now))


@pytest.fixture
def outbox(storage):
    return Outbox(storage, process=lambda: "p", now=SimulatedTime().now)


async def kill(outbox, *ids):
    await outbox.record({"e": [make_event(each) for each in ids]})
    [*_, batch] = await outbox.queued("e")
    await outbox.give_up("e", await outbox.read("e", batch), reason="gone")
    await outbox.settle("e", [batch])
    return batch


async def test_state_counts_events_and_reads_none(outbox, storage, monkeypatch):
    state = await queue_state(outbox, "e")
    assert (state.queued, state.queued_since, state.dead, state.dead_since) == (0, None, 0, None)
    dead = await kill(outbox, "1")
    await outbox.record({"e": [make_event("2"), make_event("3")]})
    await outbox.record({"e": [make_event("4")]})
    first, _ = await outbox.queued("e")
    storage.operations.clear()
    state = await queue_state(outbox, "e")
    assert (state.endpoint, state.queued, state.queued_since) == ("e", 3, first.moment)
    assert (state.dead, state.dead_since, state.is_complete) == (1, dead.moment, True)
    assert {operation.partition(" ")[0] for operation in storage.operations} == {"list_children"}
    monkeypatch.setattr(queues, "COUNTED_MAX", 1)
    state = await queue_state(outbox, "e")
    assert (state.queued, state.dead, state.is_complete) == (2, 1, False)


async def test_dead_letters_are_queued_again(outbox, storage, monkeypatch):
    monkeypatch.setattr(queues, "_REPLAYED_AT_ONCE", 2)
    await kill(outbox, *"12345")
    names = await outbox.dead("e")
    await outbox.drop("e", names[:1])
    assert await replay(outbox, "e", names[:1]) == 0
    assert await replay(outbox, "e", names, ids=["3", "9"]) == 1
    assert await replay(outbox, "e", names) == 3
    assert await outbox.dead("e") == []
    queued = [event.id for batch in await outbox.queued("e") for event in await outbox.read("e", batch)]
    assert queued == ["3", "2", "4", "5"]


async def test_batch_whose_events_are_all_taken_out_is_gone(outbox, storage):
    await outbox.record({"e": [make_event("1")]})
    [batch] = await outbox.queued("e")
    await outbox.take_out("e", batch, {"1"})
    assert await outbox.queued("e") == []
    assert await outbox.read("e", batch) == []
