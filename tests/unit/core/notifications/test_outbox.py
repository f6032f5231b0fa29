"""Foreign and broken objects in the outbox, and the limit of its memory."""

import asyncio
import json

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.model.events import EventAction, Occurrence, Origin
from core.notifications import outbox as outbox_module
from core.notifications.outbox import BatchName, Outbox, parse_name
from core.store import layout
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.notifications import make_event, recorder_without_endpoints
from tests.support.simulated_time import SimulatedTime


@pytest.fixture
def storage():
    return InMemoryBlobStorage(now=SimulatedTime().now)


def make(storage, process="p"):
    return Outbox(storage, process=lambda: process, now=SimulatedTime().now)


async def test_foreign_files_are_left_alone(storage):
    outbox = make(storage)
    await outbox.record({"e": [make_event("1")]})
    foreign = f"{layout.NOTIFICATIONS_QUEUED}/e/README"
    await storage.write(foreign, b"x")
    assert len(await outbox.queued("e")) == 1
    await outbox.settle("e", await outbox.queued("e"))
    assert [key async for key, _ in storage.walk("/")] == [foreign]


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"id": "1"}', b'{"id": "1", "target": {}}', b"\xff"])
async def test_unreadable_event_is_skipped_and_logged(storage, caplog, line):
    await make(storage).record({"e": [make_event("1"), make_event("2")]})
    [(key, _)] = [each async for each in storage.walk("/")]
    whole, _, _ = (await storage.read(key)).partition(b"\n")
    await storage.write(key, whole + b"\n" + line)
    outbox = make(storage, "q")
    [batch] = await outbox.queued("e")
    assert [event.id for event in await outbox.read("e", batch)] == ["1"]
    assert "event skipped" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"event": {}, "reason": "x", "attempts": 1}'])
async def test_unreadable_dead_letter_is_logged(storage, caplog, content):
    outbox = make(storage)
    name = BatchName(1, "p", 0, 1)
    await storage.write(f"{layout.NOTIFICATIONS_DEAD}/e/{name}", content)
    assert await outbox.dead("e") == [name]
    assert await outbox.dead_letter("e", name) is None
    assert "dead letter cannot be read" in caplog.text
    await outbox.drop("e", [name])
    assert await outbox.dead("e") == []


async def test_memory_of_recorded_events_is_bounded(storage, monkeypatch):
    monkeypatch.setattr(outbox_module, "_REMEMBERED_BYTES_MAX", 1000)
    counting = FaultyBlobStorage(storage)
    outbox = make(counting)
    for first in (0, 10):
        # The second turn has as much room as the first: reading frees the memory.
        for number in range(first, first + 10):
            await outbox.record({"e": [make_event(str(number))]})
        batches = await outbox.queued("e")
        remembered = 0
        for number, batch in enumerate(batches, first):
            counting.operations.clear()
            [event] = await outbox.read("e", batch)
            assert event.id == str(number)
            remembered += 0 if counting.operations else batch.size
        assert 1000 - batches[0].size < remembered <= 1000
        await outbox.settle("e", batches)


async def test_long_listing_lets_other_tasks_run(storage, monkeypatch):
    monkeypatch.setattr(outbox_module, "_NAMES_AT_ONCE", 10)
    outbox = make(storage)
    for number in range(35):
        await outbox.record({"e": [make_event(str(number))]})
    listing = asyncio.ensure_future(outbox.queued("e"))
    # This task is a request that wants a turn now and then.
    turns = 0
    while not listing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 3
    assert len(await listing) == 35


async def test_replay_of_nothing_costs_no_request(storage):
    await make(storage).replay("e", [])
    assert [key async for key, _ in storage.walk("/")] == []


async def test_order_is_kept_when_the_clock_stands_still(storage):
    outbox = make(storage)
    for number in range(5):
        await outbox.record({"e": [make_event(str(number))]})
    assert len({batch.recorded_at for batch in await outbox.queued("e")}) == 5


def test_batch_names_are_parsed_as_written():
    name = BatchName(1764021234123456, "ab12", 3, 2748)
    assert parse_name(str(name)) == name
    assert str(name) < str(BatchName(1764021234123457, "aa", 3, 2748))
    assert name.moment.isoformat() == "2025-11-24T21:53:54.123456+00:00"
    for text in ("", "x", f"{name}-", f"{name}\n", str(name).upper()):
        assert parse_name(text) is None


def test_endpoint_names_survive_encoding_as_a_key():
    for name in ("hook", "My Hook", "a/b", "..", "_2e", "ä€", "a%20b", "-"):
        component = layout.endpoint_component(name)
        assert layout.endpoint_of(component) == name
        assert set(component) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


async def test_sink_without_endpoints_wants_no_events():
    recorder = recorder_without_endpoints()
    assert not recorder.wants(EventAction.PUSH)
    assert not recorder.wants_references
    await recorder.emit([Occurrence(action=EventAction.PUSH, repository="a")], Origin())


async def test_recorded_events_are_json_lines(storage):
    await make(storage).record({"e": [make_event("1"), make_event("2", "b\n")]})
    [(key, _)] = [each async for each in storage.walk("/")]
    content = await storage.read(key)
    assert [json.loads(line)["id"] for line in content.split(b"\n")] == ["1", "2"]
