"""Time that the store's clock jumped over makes nothing old, for collection, purging, retention, trash and repairs."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.coordination.budget import Budget, Rates
from core.errors import StorageFullError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.registry.abandoned_uploads import remove_abandoned
from core.retention.rules import RetentionRule
from core.store import layout
from core.store.clock import PLAUSIBLE, StoreClock
from core.store.timeline import Gap, Timeline
from core.trash.entry import TrashKind
from core.trash.store import Trash
from tests.support.collecting_services import Store, push_image
from tests.support.core_services import CoreServices, counting_ids

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
START = datetime(2026, 11, 24, tzinfo=UTC)
YEAR = 365 * DAY


class Machine:
    """A machine with a folder: a wall clock that may be wrong, and a monotonic one."""

    def __init__(self) -> None:
        self.wall = START
        self.seconds = 1000.0
        self.storage = InMemoryBlobStorage(now=lambda: self.wall)

    def pass_time(self, time: timedelta) -> None:
        self.wall += time
        self.seconds += time.total_seconds()

    def process(self) -> StoreClock:
        """A process that begins to look."""
        return StoreClock(self.storage, clock=lambda: self.seconds)


@pytest.fixture
def machine():
    return Machine()


def test_gaps_do_not_count_as_age():
    timeline = Timeline(START, (Gap(START - 20 * DAY, START - 11 * DAY), Gap(START - 5 * DAY, START - 2 * DAY)))
    assert timeline.before(DAY) == START - DAY
    assert timeline.before(2 * DAY) == START - 2 * DAY
    assert timeline.before(3 * DAY) == START - 6 * DAY
    assert timeline.before(10 * DAY) == START - 22 * DAY
    assert timeline.skipped(DAY) == timedelta(0)
    assert timeline.skipped(10 * DAY) == 12 * DAY


async def test_correct_clock_has_no_gaps(machine):
    process = machine.process()
    for _ in range(3):
        timeline = await process.look()
        assert timeline == Timeline(machine.wall)
        machine.pass_time(3 * DAY)


@pytest.mark.parametrize("jump", [HOUR, 3 * DAY, YEAR])
async def test_jump_during_a_process_is_found_at_any_length(machine, jump, caplog):
    process = machine.process()
    await process.look()
    machine.pass_time(MINUTE)
    machine.wall += jump
    timeline = await process.look()
    assert timeline.before(DAY) == machine.wall - DAY - jump
    machine.pass_time(MINUTE)
    assert (await process.look()).gaps == timeline.gaps
    # The next process reads it from the store, and the time that passes again counts.
    machine.pass_time(2 * DAY)
    timeline = await machine.process().look()
    assert timeline.before(DAY) == machine.wall - DAY
    assert timeline.before(3 * DAY) == machine.wall - 3 * DAY - jump
    assert caplog.text.count("store clock jumped") == 2


async def test_other_running_process_finds_the_same_jump(machine):
    first, second = machine.process(), machine.process()
    await first.look()
    await second.look()
    machine.pass_time(MINUTE)
    machine.wall += YEAR
    timeline = await first.look()
    machine.pass_time(MINUTE)
    assert (await second.look()).gaps == timeline.gaps


async def test_time_without_a_process_counts_up_to_a_plausible_length(machine):
    await machine.process().look()
    machine.pass_time(PLAUSIBLE)
    assert (await machine.process().look()).gaps == ()
    machine.pass_time(PLAUSIBLE + MINUTE)
    assert (await machine.process().look()).skipped(DAY) == PLAUSIBLE + MINUTE


async def test_corrected_clock_leaves_no_gap(machine):
    process = machine.process()
    await process.look()
    machine.wall += YEAR
    assert (await process.look()).gaps
    machine.pass_time(HOUR)
    machine.wall -= YEAR
    for _ in range(2):
        assert await process.look() == Timeline(machine.wall)
        machine.pass_time(DAY)
    assert (await machine.process().look()).gaps == ()


async def test_operator_may_trust_the_clock(machine):
    await machine.process().look()
    machine.wall += YEAR
    assert (await machine.process().look()).gaps
    await machine.process().trust()
    assert (await machine.process().look()).gaps == ()


async def test_unreadable_record_is_replaced(machine, caplog):
    await machine.storage.write(layout.CLOCK, b"torn")
    assert (await machine.process().look()).gaps == ()
    assert "cannot read the store clock record" in caplog.text
    caplog.clear()
    machine.wall += YEAR
    assert (await machine.process().look()).gaps


async def test_clock_checks_write_every_five_minutes(machine):
    process = machine.process()
    await process.look()
    written = (await machine.storage.stat(layout.CLOCK)).modified_at
    machine.pass_time(4 * MINUTE)
    await process.look()
    assert (await machine.storage.stat(layout.CLOCK)).modified_at == written
    machine.pass_time(MINUTE)
    await process.look()
    assert (await machine.storage.stat(layout.CLOCK)).modified_at == machine.wall


async def test_number_of_recorded_jumps_is_bounded(machine):
    process = machine.process()
    for _ in range(40):
        machine.wall += DAY
        await process.look()
    assert len((await process.look()).gaps) == 16


async def test_upload_in_progress_survives_a_jump(machine):
    process = machine.process()
    await process.look()
    session = layout.upload(RepositoryName("a"), "0f0e0d0c-0b0a-4908-8706-050403020100")
    await machine.storage.write(f"{session}/startedat", b"x")
    machine.pass_time(MINUTE)
    machine.wall += YEAR
    budget = Budget(Rates(), clock=lambda: machine.seconds, sleep=asyncio.sleep)
    purged = await remove_abandoned(machine.storage, before=(await process.look()).before(7 * DAY), budget=budget)
    assert purged.sessions == []
    machine.pass_time(8 * DAY)
    purged = await remove_abandoned(machine.storage, before=(await process.look()).before(7 * DAY), budget=budget)
    assert purged.sessions == [session]


async def test_trash_of_a_minute_ago_survives_a_jump(machine):
    process = machine.process()
    trash = Trash(machine.storage, now=lambda: machine.wall, new_id=counting_ids(), keep=7 * DAY, store_clock=process)
    await process.look()
    await trash.record(trash.new_entry(TrashKind.TAG, repository=RepositoryName("a")))
    machine.pass_time(MINUTE)
    machine.wall += YEAR
    assert (await trash.expire()).entries == 0
    machine.pass_time(6 * DAY)
    assert (await trash.expire()).entries == 0
    machine.pass_time(DAY)
    assert (await trash.expire()).entries == 1


async def test_retention_after_a_jump_keeps_what_was_pushed_lately(machine):
    services = CoreServices(storage=machine.storage, retention_rules=[RetentionRule(pushed_within=30 * DAY)])
    await push_image(services, RepositoryName("a"), b"{}", tags=["v1"])
    await StoreClock(machine.storage).look()
    machine.pass_time(MINUTE)
    machine.wall += YEAR
    [plan] = [plan async for plan in services.retention.plans(merges_pulls=False)]
    assert plan.going == []
    machine.pass_time(31 * DAY)
    await StoreClock(machine.storage).trust()
    [plan] = [plan async for plan in services.retention.plans(merges_pulls=False)]
    assert [state.tag for state in plan.going] == ["v1"]


async def test_collection_after_a_jump_keeps_the_layers_of_a_running_push(caplog):
    store = Store()
    services = store.services()
    await store.collect()
    await services.push_blob(RepositoryName("a"), b"layer")
    store.time.jump(YEAR)
    with caplog.at_level(logging.WARNING):
        report = await store.collect()
    assert (report.blobs_removed, report.kept_young) == (0, 1)
    assert report.clock_jump_seconds >= YEAR.total_seconds()
    assert "store clock jumped" in caplog.text
    assert layout.blob_data(Digest.of(b"layer")) in await store.keys()
    await store.time.advance(2 * 3600)
    assert (await store.collect()).blobs_removed == 1


class FullBlobStorage(InMemoryBlobStorage):
    """A store that has no room for another byte."""

    async def write(self, key, content, *, durable=True):
        if content:
            raise StorageFullError("no space left")
        await super().write(key, content, durable=durable)


async def test_clock_check_works_on_a_full_store(caplog):
    """Collection frees the space, and needs the time for it."""
    wall = [START]
    process = StoreClock(FullBlobStorage(now=lambda: wall[0]), clock=lambda: 0.0)
    assert await process.look() == Timeline(START)
    wall[0] += YEAR
    assert (await process.look()).skipped(DAY) == YEAR
    assert "store clock not recorded" in caplog.text


async def test_tags_stay_listed(machine):
    """The record of the clock lies where distribution does not look."""
    services = CoreServices(storage=machine.storage)
    await push_image(services, RepositoryName("a"), b"{}", tags=["v1"])
    await machine.process().look()
    assert await services.tag_links.listed(RepositoryName("a")) == [Tag("v1")]
    assert [path async for path in machine.storage.list_marked(layout.REPOSITORIES, layout.MARK)] == ["a"]
