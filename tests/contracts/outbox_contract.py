"""Contract of the outbox on every storage."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest

from core.notifications.outbox import Outbox
from tests.support.notifications import make_event

START = datetime(2026, 11, 24, tzinfo=UTC)
NAME = "hook one/ä"
OTHER = "other"


async def ids(outbox, endpoint=NAME):
    batches = [await outbox.read(endpoint, name) for name in await outbox.queued(endpoint)]
    return [event.id for events in batches for event in events]


class OutboxContract:
    """Subclasses provide `storage`; `outbox` is one process, `another` a second one on the same storage."""

    @pytest.fixture
    async def storage(self):
        raise NotImplementedError

    @pytest.fixture
    def make(self, storage):
        moments = (START + timedelta(milliseconds=number) for number in itertools.count())
        processes = itertools.count()
        return lambda: Outbox(storage, process=lambda: f"process{next(processes)}", now=lambda: next(moments))

    @pytest.fixture
    def outbox(self, make):
        return make()

    @pytest.fixture
    def another(self, make):
        return make()

    async def test_recorded_events_are_read_by_every_process(self, outbox, another):
        await outbox.record({NAME: [make_event("1"), make_event("2", "b")], OTHER: [make_event("2", "b")]})
        assert await ids(outbox) == ["1", "2"]
        assert await ids(another) == ["1", "2"]
        assert await ids(another, OTHER) == ["2"]
        assert await another.endpoints() == {NAME, OTHER}

    async def test_events_are_read_as_they_were_recorded(self, outbox, another):
        event = make_event("1", "a/b", tag="v1", references=({"mediaType": "x", "size": 1},), url="http://ü/\n")
        await outbox.record({NAME: [event]})
        [name] = await another.queued(NAME)
        [read] = await another.read(NAME, name)
        assert read.document == event
        assert list(read.document["target"]) == list(event["target"])
        assert (read.repository, name.number) == ("a/b", 1)

    async def test_order_is_that_of_recording_across_processes(self, outbox, another):
        for number in range(20):
            await (outbox, another)[number % 2].record({NAME: [make_event(str(number))]})
        assert await ids(another) == [str(number) for number in range(20)]

    async def test_limit_takes_the_oldest(self, outbox, another):
        for number in range(5):
            await outbox.record({NAME: [make_event(str(number))]})
        assert len(await another.queued(NAME, limit=2)) == 2
        assert await another.queued(NAME, limit=2) == (await another.queued(NAME))[:2]

    async def test_concurrent_records_lose_no_event(self, outbox, another):
        await asyncio.wait(
            [
                asyncio.ensure_future(each.record({NAME: [make_event(f"{number}-{process}")]}))
                for number in range(20)
                for process, each in enumerate((outbox, another))
            ]
        )
        assert len(set(await ids(outbox))) == 40

    async def test_settled_batches_are_gone(self, outbox, another):
        await outbox.record({NAME: [make_event("1")], OTHER: [make_event("1")]})
        await outbox.record({NAME: [make_event("2")]})
        first, _ = await another.queued(NAME)
        await another.settle(NAME, [first])
        await another.settle(NAME, [first])
        assert await ids(another) == ["2"]
        assert await another.read(NAME, first) == []
        assert await ids(another, OTHER) == ["1"]

    async def test_dead_letters_are_listed_and_recorded_once(self, outbox, another):
        await outbox.record({NAME: [make_event("1"), make_event("2")]})
        [name] = await outbox.queued(NAME)
        events = await outbox.read(NAME, name)
        await outbox.give_up(NAME, events[1:], reason="refused", attempts=5)
        await another.give_up(NAME, events[1:], reason="refused once more", attempts=1)
        [dead] = await another.dead(NAME)
        letter = await another.dead_letter(NAME, dead)
        assert (letter.document["id"], letter.reason, letter.attempts) == ("2", "refused once more", 1)
        await another.settle(NAME, [name])
        assert await another.endpoints() == {NAME}

    async def test_replayed_letters_are_queued_again(self, outbox, another):
        await outbox.record({NAME: [make_event("1")]})
        [name] = await outbox.queued(NAME)
        await outbox.give_up(NAME, await outbox.read(NAME, name), reason="x")
        await outbox.settle(NAME, [name])
        await outbox.record({NAME: [make_event("2")]})
        letters = [await another.dead_letter(NAME, dead) for dead in await another.dead(NAME)]
        await another.replay(NAME, letters)
        assert await ids(outbox) == ["2", "1"]
        assert await outbox.dead(NAME) == []

    async def test_dropped_letters_are_gone(self, outbox):
        await outbox.record({NAME: [make_event("1"), make_event("2")]})
        [name] = await outbox.queued(NAME)
        await outbox.give_up(NAME, await outbox.read(NAME, name), reason="x")
        first, second = await outbox.dead(NAME)
        await outbox.drop(NAME, [first])
        assert await outbox.dead(NAME) == [second]
        assert await outbox.dead_letter(NAME, first) is None

    async def test_taken_out_event_leaves_the_rest_in_its_place(self, outbox, another):
        await outbox.record({NAME: [make_event("1"), make_event("2"), make_event("3")]})
        await outbox.record({NAME: [make_event("4")]})
        first, last = await another.queued(NAME)
        await another.take_out(NAME, first, {"2"})
        assert await ids(another) == ["1", "3", "4"]
        await another.take_out(NAME, last, {"4"})
        assert await ids(another) == ["1", "3"]

    async def test_names_contain_number_and_bytes(self, outbox, another, storage):
        await outbox.record({NAME: [make_event("1"), make_event("2")]})
        [name] = await another.queued(NAME)
        [size] = [stat.size async for key, stat in storage.walk("/") if key.endswith(str(name))]
        assert (name.number, name.size) == (2, size)
