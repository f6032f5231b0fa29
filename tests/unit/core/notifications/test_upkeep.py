"""The outbox stays within its bounds, and reports the events that it gives up."""

from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.notifications.endpoint import EndpointStats
from core.notifications.outbox import Outbox
from core.notifications.upkeep import Bounds, Upkeep
from tests.support.notifications import make_event

HOUR = timedelta(hours=1)


@pytest.fixture
def outbox(time):
    return Outbox(InMemoryBlobStorage(now=time.now), process=lambda: "p", now=time.now)


@pytest.fixture
def counts():
    return EndpointStats("e")


@pytest.fixture
def look(outbox, time, counts):
    async def look(*, bytes_max=10**6, age_max=HOUR, dead_age_max=10 * HOUR):
        bounds = Bounds(bytes_max=bytes_max, age_max=age_max, dead_age_max=dead_age_max)
        await Upkeep(outbox, bounds, now=time.now).enforce("e", counts)

    return look


async def ids(outbox):
    batches = [await outbox.read("e", name) for name in await outbox.queued("e")]
    return [event.id for events in batches for event in events]


async def dead_ids(outbox):
    return [(await outbox.dead_letter("e", name)).document["id"] for name in await outbox.dead("e")]


async def test_numbers_are_counted_by_listing_only(outbox, time, counts, look):
    await outbox.record({"e": [make_event("1"), make_event("2")]})
    await time.advance(90)
    await outbox.record({"e": [make_event("3")]})
    await look()
    assert (counts.queued, counts.dead, counts.lag_seconds) == (3, 0, 90.0)
    assert counts.queued_bytes == sum(name.size for name in await outbox.queued("e"))


async def test_old_events_become_dead_letters_and_are_removed_later(outbox, time, counts, look, caplog):
    await outbox.record({"e": [make_event("1"), make_event("2")]})
    await time.advance(3601)
    await outbox.record({"e": [make_event("3")]})
    await look()
    assert await dead_ids(outbox) == ["1", "2"]
    assert await ids(outbox) == ["3"]
    assert (counts.queued, counts.dead, counts.buried) == (1, 2, 2)
    assert "not delivered in time" in caplog.text
    await time.advance(9 * 3600)
    await look()
    assert await dead_ids(outbox) == ["3"]
    assert counts.dropped == 2
    assert "dead letters dropped" in caplog.text


async def test_excess_bytes_remove_dead_letters_first_then_the_oldest_events(outbox, counts, look):
    await outbox.record({"e": [make_event("0")]})
    [name] = await outbox.queued("e")
    await outbox.give_up("e", await outbox.read("e", name), reason="x")
    await outbox.settle("e", [name])
    for number in range(1, 6):
        await outbox.record({"e": [make_event(str(number))]})
    size = name.size
    await look(bytes_max=size * 5)
    assert (await dead_ids(outbox), await ids(outbox)) == ([], ["1", "2", "3", "4", "5"])
    await look(bytes_max=size * 2)
    assert await ids(outbox) == ["4", "5"]
    assert (counts.queued, counts.dropped) == (2, 4)


async def test_within_bounds_nothing_is_removed(outbox, counts, look):
    await outbox.record({"e": [make_event("1")]})
    await look()
    await look()
    assert await ids(outbox) == ["1"]
    assert (counts.buried, counts.dropped) == (0, 0)
