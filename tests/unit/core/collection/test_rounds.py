"""Rounds, batches and heartbeats of collectors, and the end of a dead collector's round."""

import asyncio
from datetime import timedelta

import pytest

from config.container.schedules import COLLECTION_LEASE_SECONDS
from core.collection import run
from core.collection.pins import Pins
from core.collection.recovery import Recovery, RoundWatch
from core.collection.removing import BATCH_ITEMS
from core.collection.rounds import Batches, Rounds
from core.coordination.lease import Lease
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from core.store.links import RemovedLink
from core.trash.entry import TrashKind
from entrypoints.jobs.collection import WAIT_SECONDS
from tests.support.collecting_services import push_image

NAME = RepositoryName("a")
A, B = Digest.of(b"a"), Digest.of(b"b", "sha512")


@pytest.fixture
def rounds(store):
    return Rounds(store.storage)


async def test_round_is_read_as_it_was_begun(rounds):
    await rounds.begin("r", {A: Batches(0, 3), B: Batches(1, 1)}, settle_seconds=12.5)
    condemned, digests = await rounds.read("r")
    assert (condemned.settle_seconds, len(condemned), list(digests)) == (12.5, 2, [A, B])
    assert (condemned.get(A), condemned.get(B), condemned.get(Digest.of(b"c"))) == (Batches(0, 3), Batches(1, 1), None)
    assert await rounds.read("other") is None


async def test_listing_returns_the_current_batch(rounds):
    assert await rounds.states() == {}
    await rounds.begin("r", {A: Batches(0, 0)}, settle_seconds=1)
    assert (await rounds.states())["r"].batch == -1
    await rounds.enter("r", 0)
    await rounds.enter("r", 11)
    assert (await rounds.states())["r"].batch == 11
    assert await rounds.exists("r")
    await rounds.end("r")
    assert await rounds.states() == {}
    assert not await rounds.exists("r")


async def test_incomplete_round_is_no_round(rounds, store):
    await rounds.enter("r", 1)
    assert not (await rounds.states())["r"].exists
    await store.finish(recovery(store).end_abandoned())
    assert await rounds.states() == {}


async def test_spares_are_found_and_removed(store):
    pins = Pins(store.storage)
    await pins.write([A, B])
    await store.storage.write(f"{layout.PINS}/sha256/nonsense", b"")
    assert set(await pins.all()) == {A, B}
    await pins.remove([A])
    await pins.remove([])
    assert set(await pins.all()) == {B}


def recovery(store, *, keep=timedelta(days=7), watch=None):
    return Recovery(
        store.storage,
        rounds=Rounds(store.storage),
        pins=Pins(store.storage),
        trash=store.trash(keep=keep),
        sleep=store.time.sleep,
        watch=watch or RoundWatch(Rounds(store.storage), clock=store.time.clock),
    )


async def leave_half_a_round(store, *, keep=timedelta(days=7)):
    """Act as a collector that dies after it moved a blob for which a server wrote a pin."""
    trash = store.trash(keep=keep)
    entry = trash.new_entry(TrashKind.COLLECTION)
    link = layout.layer_link(NAME, A)
    await store.storage.write(layout.blob_data(A), b"a")
    await store.storage.write(layout.blob_data(Digest.of(b"c")), b"c")
    rounds = Rounds(store.storage)
    await rounds.begin(entry.id, {A: Batches(0, 0)}, settle_seconds=60)
    await rounds.enter(entry.id, 0)
    await trash.record(entry, links=[RemovedLink(link, A)], blobs=[A, Digest.of(b"c")])
    for digest in (A, Digest.of(b"c")):
        await trash.move_blob(digest, entry)
    await Pins(store.storage).write([A])
    return entry, link


@pytest.mark.parametrize("keep", [timedelta(days=7), timedelta(0)])
async def test_round_of_a_dead_collector_is_ended_and_spared_content_returns(store, rounds, keep):
    entry, link = await leave_half_a_round(store, keep=keep)
    assert await store.finish(recovery(store, keep=keep).end_abandoned()) == 1
    assert await store.storage.read(layout.blob_data(A)) == b"a"
    assert await store.storage.read(link) == A.encode()
    assert layout.blob_data(Digest.of(b"c")) not in await store.keys()
    assert await rounds.states() == {}
    assert bool([part async for part in store.trash().parts(entry.id)]) == bool(keep)


async def test_existing_link_is_not_written_again(store):
    _, link = await leave_half_a_round(store)
    await store.storage.write(link, b"newer")
    await store.finish(recovery(store).end_abandoned())
    assert await store.storage.read(link) == b"newer"


async def test_living_collector_is_left_alone(store, rounds):
    await rounds.begin("r", {A: Batches(0, 0)}, settle_seconds=60)
    ending = recovery(store)

    async def live_on():
        for count in range(30):
            await store.time.sleep(5)
            await rounds.write_heartbeat("r", count)

    async def both():
        living = asyncio.create_task(live_on())
        ended = await ending.end_abandoned()
        await living
        return ended

    assert await store.finish(both()) == 0
    assert await rounds.exists("r")


@pytest.mark.parametrize(("pulses", "seconds"), [(True, 20), (False, 120)])
async def test_round_with_a_pulse_is_found_dead_sooner(store, rounds, pulses, seconds):
    """The round of a verification has none, and must last until all servers have looked."""
    await rounds.begin("r", {A: Batches(0, 0)}, settle_seconds=60)
    if pulses:
        await rounds.write_heartbeat("r", 0)
    ended = asyncio.create_task(recovery(store).end_abandoned())
    await store.time.advance(seconds - 1)
    assert await rounds.exists("r")
    await store.time.advance(4)
    assert not await rounds.exists("r")
    assert await ended == 1


async def test_first_pulse_keeps_a_round(store, rounds):
    await rounds.begin("r", {A: Batches(0, 0)}, settle_seconds=60)
    ended = asyncio.create_task(recovery(store).end_abandoned())
    for count in range(5):
        await store.time.advance(3)
        await rounds.write_heartbeat("r", count)
    await store.time.advance(3)
    assert await ended == 0


async def test_dead_collector_is_replaced_within_half_a_minute(store):
    """Another replica waits for its lease, and has seen its round stand still by the time that it has the lease."""
    await make_garbage(store)
    died = asyncio.create_task(hold_lease(store, "dead"))
    collecting = asyncio.create_task(store.collector().run())
    await store.time.advance(8)
    watch = RoundWatch(Rounds(store.storage), clock=store.time.clock)
    lease = lease_of(store, "next")
    waiting = asyncio.create_task(wait_for(store, lease, watch))
    await store.time.advance(20)
    left = await store.storage.read(layout.lease("collect"))
    found = {key: await store.storage.read(key) for key in await store.keys(layout.COLLECTION_ROUNDS)}
    for task in (died, collecting):
        task.cancel()
    await asyncio.wait([died, collecting])
    # A killed process takes nothing back.
    for key, content in (found | {layout.lease("collect"): left}).items():
        await store.storage.write(key, content)
    await store.time.advance(30)
    assert waiting.done()
    ending = asyncio.create_task(recovery(store, watch=watch).end_abandoned())
    await store.time.advance(0)
    assert ending.done()
    assert await ending == 1


def lease_of(store, owner_id):
    return Lease(
        store.storage,
        layout.lease("collect"),
        owner_id=lambda: owner_id,
        ttl=COLLECTION_LEASE_SECONDS,
        clock=store.time.clock,
        sleep=store.time.sleep,
    )


async def hold_lease(store, owner_id):
    lease = lease_of(store, owner_id)
    assert await lease.try_acquire()
    await lease.keep()


async def wait_for(store, lease, watch):
    """Wait as a server does."""
    while not await lease.try_acquire():
        assert lease.is_awaited
        await watch.look()
        await store.time.sleep(WAIT_SECONDS)
    assert not lease.is_awaited


async def make_garbage(store):
    services = store.services()
    await services.push_blob(NAME, b"garbage")
    await store.time.advance(7200)


async def test_round_that_has_ended_is_not_ended_again(store, rounds):
    await rounds.begin("r", {A: Batches(0, 0)}, settle_seconds=60)

    async def both():
        ended = asyncio.create_task(recovery(store).end_abandoned())
        await store.time.sleep(20)
        await rounds.end("r")
        return await ended

    assert await store.finish(both()) == 0


async def test_large_round_is_removed_batch_by_batch(store):
    services = store.services()
    await push_image(services, NAME, b"{}", tags=["x"])
    for number in range(BATCH_ITEMS):
        digest = Digest(f"sha256:{number:064x}")
        await store.storage.write(layout.blob_data(digest), b"")
        await store.storage.write(layout.layer_link(NAME, digest), digest.encode())
    await store.time.advance(7200)
    report = await store.collect()
    assert (report.blobs_removed, report.layer_links_removed, report.rounds) == (BATCH_ITEMS, BATCH_ITEMS, 1)


async def test_more_digests_than_a_round_holds_take_several_rounds(store, monkeypatch):
    monkeypatch.setattr(run, "ITEMS_MAX", 10)
    services = store.services()
    for number in range(12):
        await services.push_blob(NAME, b"%d" % number)
    await store.time.advance(7200)
    report = await store.collect()
    assert (report.rounds, report.blobs_removed, report.layer_links_removed) == (3, 12, 12)


async def test_stopped_run_ends_between_rounds(store, monkeypatch):
    monkeypatch.setattr(run, "ITEMS_MAX", 10)
    services = store.services()
    for number in range(12):
        await services.push_blob(NAME, b"%d" % number)
    await store.time.advance(7200)
    answers = iter([True, False])
    first = await store.collect(goes_on=lambda: next(answers))
    assert (first.rounds, first.blobs_removed, first.layer_links_removed) == (1, 0, 10)
    second = await store.collect()
    assert (second.blobs_removed, second.layer_links_removed) == (12, 2)
