"""Pulls are remembered, written in batches, and merged by the latest."""

from contextlib import suppress
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.concurrency import map_bounded
from core.errors import StorageFullError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.retention import pulls
from core.retention.pulls import PullHistory, PullRecorder, PullTimes
from core.store import layout
from tests.support.core_services import counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
FIRST, SECOND = (Digest.of(content) for content in (b"first", b"second"))
HOUR = 3600.0
MONTH = timedelta(days=30)


@pytest.fixture
def storage(time):
    return FaultyBlobStorage(InMemoryBlobStorage(now=time.now))


@pytest.fixture
def ids():
    return counting_ids()


@pytest.fixture
def recorder(storage, time, ids):
    return PullRecorder(storage, clock=time.clock, new_id=ids)


@pytest.fixture
def history(storage, ids):
    return PullHistory(storage, new_id=ids)


async def batches(storage):
    return [key async for key, _ in storage.walk(layout.PULL_BATCHES)]


async def test_pull_has_the_time_of_the_store(recorder, history, time):
    recorder.note(NAME, FIRST)
    pulled_at = time.now()
    await time.advance(HOUR)
    assert await recorder.flush() == 1
    await time.advance(HOUR)
    pulls = await history.read(oldest=MONTH, merges=False)
    assert pulls.last(NAME, FIRST) == pulled_at
    assert pulls.last(OTHER, FIRST) is pulls.last(NAME, SECOND) is None


async def test_note_writes_nothing_and_flush_writes_only_new_pulls(recorder, storage):
    recorder.note(NAME, FIRST)
    assert storage.operations == []
    assert await recorder.flush() == 1
    assert await recorder.flush() == 0
    assert len(await batches(storage)) == 1


async def test_latest_pull_of_all_processes_counts(recorder, history, storage, time, ids):
    other = PullRecorder(storage, clock=time.clock, new_id=ids)
    recorder.note(NAME, FIRST)
    other.note(NAME, SECOND)
    await time.advance(HOUR)
    other.note(NAME, FIRST)
    latest = time.now()
    await other.flush()
    await recorder.flush()
    pulls = await history.read(oldest=MONTH, merges=True)
    assert pulls.last(NAME, FIRST) == latest
    assert pulls.last(NAME, SECOND) == latest - timedelta(hours=1)
    assert len(await batches(storage)) == 1
    assert (await history.read(oldest=MONTH, merges=True)).times == pulls.times


async def test_full_store_keeps_its_batches(recorder, history, storage, time, caplog):
    for digest in (FIRST, SECOND):
        recorder.note(NAME, digest)
        await recorder.flush()
    before = await batches(storage)

    class Full(FaultyBlobStorage):
        async def write(self, key, content, *, durable=True):
            if key.startswith(layout.PULL_BATCHES):
                raise StorageFullError(f"no space left at {key}")
            await super().write(key, content, durable=durable)

    full = PullHistory(Full(storage), new_id=counting_ids())
    assert (await full.read(oldest=MONTH, merges=True)).last(NAME, FIRST) == time.now()
    assert await batches(storage) == before
    assert "pull batches not merged" in caplog.text


async def test_pulls_are_forgotten_when_no_rule_needs_them(recorder, history, storage, time):
    recorder.note(NAME, FIRST)
    await recorder.flush()
    await time.advance(31 * 24 * HOUR)
    recorder.note(NAME, SECOND)
    await recorder.flush()
    assert (await history.read(oldest=MONTH, merges=True)).last(NAME, FIRST) is None
    assert FIRST.encode() not in b"".join([await storage.read(key) for key in await batches(storage)])


async def test_beginning_is_known_until_there_is_a_gap(recorder, history, storage, time, ids):
    assert (await history.read(oldest=MONTH, merges=False)).since == time.now()
    await time.advance(HOUR)
    await recorder.flush()
    began_at = time.now()
    for _ in range(3):
        await time.advance(20 * HOUR)
        await recorder.flush()
        assert (await history.read(oldest=MONTH, merges=False)).since == began_at
    # A restart within a day changes nothing.
    restarted = PullRecorder(storage, clock=time.clock, new_id=ids)
    await restarted.flush()
    assert (await history.read(oldest=MONTH, merges=False)).since == began_at
    await time.advance(30 * HOUR)
    assert (await history.read(oldest=MONTH, merges=False)).since == time.now()
    await PullRecorder(storage, clock=time.clock, new_id=ids).flush()
    again = time.now()
    await time.advance(HOUR)
    assert (await history.read(oldest=MONTH, merges=False)).since == again


async def test_failed_flush_keeps_unwritten_pulls(recorder, history, storage):
    recorder.note(NAME, FIRST)
    storage.stop_after(2)
    with pytest.raises(StorageUnavailableError):
        await recorder.flush()
    storage.heal()
    assert await recorder.flush() == 1
    assert (await history.read(oldest=MONTH, merges=False)).last(NAME, FIRST) is not None


async def test_pull_during_a_flush_is_written_by_the_next(recorder, history, storage, time, monkeypatch):
    write = storage.write

    async def write_slowly(key, content, *, durable=True):
        await write(key, content, durable=durable)
        if key.startswith(layout.PULL_BATCHES):
            await time.advance(HOUR)
            recorder.note(NAME, FIRST)

    recorder.note(NAME, FIRST)
    monkeypatch.setattr(storage, "write", write_slowly)
    await recorder.flush()
    monkeypatch.undo()
    assert await recorder.flush() == 1
    assert (await history.read(oldest=MONTH, merges=False)).last(NAME, FIRST) == time.now()


async def test_many_pulls_are_bounded_and_split(recorder, history, storage, caplog, monkeypatch):
    monkeypatch.setattr(pulls, "REMEMBERED_MAX", 1_000)
    monkeypatch.setattr(pulls, "_BATCH_PULLS", 100)
    for number in range(1_005):
        recorder.note(RepositoryName(f"r{number}"), FIRST)
    recorder.note(RepositoryName("r0"), FIRST)
    assert await recorder.flush() == 1_000
    assert "pulls of 5 manifests not recorded" in caplog.text
    assert len(await batches(storage)) == 10
    assert len((await history.read(oldest=MONTH, merges=True)).times) == 1_000
    assert len(await batches(storage)) == 10


@pytest.mark.parametrize("content", [b"", b"[]", b'{"A": {}}', b'{"a": {"x": 1}}', b'{"a": []}'])
async def test_unreadable_batch_is_left_alone(recorder, history, storage, content):
    key = layout.pull_batch("torn")
    await storage.write(key, content)
    for digest in (FIRST, SECOND):
        recorder.note(NAME, digest)
        await recorder.flush()
    pulls = await history.read(oldest=MONTH, merges=True)
    assert set(pulls.times) == {(NAME, FIRST), (NAME, SECOND)}
    assert key in await batches(storage)


async def test_kill_while_merging_loses_nothing(recorder, history, storage, time):
    for number in range(4):
        recorder.note(NAME, Digest.of(bytes([number])))
        await recorder.flush()
        await time.advance(HOUR)
    before = (await history.read(oldest=MONTH, merges=False)).times
    mutations = 0
    while len(await batches(storage)) > 1:
        storage.stop_after(mutations)
        with suppress(StorageUnavailableError):
            await history.read(oldest=MONTH, merges=True)
        storage.heal()
        assert (await history.read(oldest=MONTH, merges=False)).times == before
        mutations += 1
    assert mutations > 2


async def test_batch_merged_by_another_process_is_skipped(recorder, history, storage, monkeypatch):
    recorder.note(NAME, FIRST)
    await recorder.flush()
    read = storage.read

    async def read_late(key, **options):
        if key.startswith(layout.PULL_BATCHES):
            await storage.delete([key])
        return await read(key, **options)

    monkeypatch.setattr(storage, "read", read_late)
    assert (await history.read(oldest=MONTH, merges=True)).times == {}


@pytest.fixture
def times(storage, time):
    return PullTimes(storage, clock=time.clock)


async def test_lists_see_the_last_pull_of_each_manifest(recorder, times, time):
    recorder.note(NAME, FIRST)
    await recorder.flush()
    await time.advance(HOUR)
    recorder.note(NAME, FIRST)
    recorder.note(OTHER, SECOND)
    await recorder.flush()
    assert await times.of(NAME) == {FIRST: time.now()}
    assert await times.of(OTHER) == {SECOND: time.now()}
    assert await times.of(RepositoryName("unknown")) == {}


async def test_lists_read_each_batch_once_and_list_once_a_minute(recorder, times, time, storage):
    for digest in (FIRST, SECOND):
        recorder.note(NAME, digest)
        await recorder.flush()
        await time.advance(HOUR)
        storage.operations.clear()
        for _ in range(2):
            await times.of(NAME)
        assert [operation.partition(" ")[0] for operation in storage.operations] == ["walk", "read"]
    assert set(await times.of(NAME)) == {FIRST, SECOND}


async def test_lists_keep_the_times_of_merged_batches(recorder, times, history, time):
    for digest in (FIRST, SECOND):
        recorder.note(NAME, digest)
        await recorder.flush()
    before = dict(await times.of(NAME))
    await history.read(oldest=MONTH, merges=True)
    await time.advance(HOUR)
    assert await times.of(NAME) == before


async def test_lists_pass_over_a_batch_that_cannot_be_read(recorder, times, storage):
    await storage.write(layout.pull_batch("damaged"), b"damaged")
    recorder.note(NAME, FIRST)
    await recorder.flush()
    assert set(await times.of(NAME)) == {FIRST}


async def test_lists_know_a_bounded_number_of_manifests(recorder, times, monkeypatch):
    monkeypatch.setattr(pulls, "LISTED_MAX", 1)
    recorder.note(NAME, FIRST)
    recorder.note(NAME, SECOND)
    await recorder.flush()
    assert set(await times.of(NAME)) == {FIRST}


async def test_concurrent_lists_share_one_look(recorder, times, storage):
    await recorder.flush()
    storage.operations.clear()
    storage.delay_rate = 1.0
    await map_bounded(times.of, [NAME, OTHER])
    assert len(storage.operations) == 1
