"""The table of repositories: stored by a job, with the recorded changes applied when it is read."""

import json
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from core.concurrency import map_bounded
from core.errors import StorageUnavailableError
from core.model.names import RepositoryName, Tag
from core.store import layout, summary_keys
from core.summaries import table as table_module
from core.summaries.changes import ChangeKind, ChangeRecorder
from core.summaries.folding import RECORD_AGE
from core.summaries.stored import SummariesUnreadableError
from core.summaries.table import RepositorySummary, StoredTable, decode_table, encode_table, read_table, write_table
from tests.support.summaries import NAME, inline

NOW = datetime(2026, 11, 24, 3, 47, 56, 123456, tzinfo=UTC)
OTHER = RepositoryName("other")
LONG = RepositoryName("a/" + "b" * 200)
ROW = RepositorySummary(name=OTHER, tags=3, size=5, pushed_at=NOW, is_complete=False)
EMPTY_ROW = RepositorySummary(name=LONG, tags=0, size=0, pushed_at=None)
FULL = StoredTable(rows={LONG: EMPTY_ROW, OTHER: ROW}, built_at=NOW, after="x")


@pytest.fixture
def service(store):
    return store.service()


async def keep(store, *names, built_at=NOW):
    rows = {name: RepositorySummary(name=name, tags=9, size=9, pushed_at=NOW) for name in names}
    await write_table(store.storage.inner, StoredTable(rows=rows, built_at=built_at), offload=inline)


def test_a_table_is_read_as_written():
    assert decode_table(encode_table(FULL)) == FULL
    assert decode_table(encode_table(StoredTable())) == StoredTable()


def test_repositories_beyond_the_limit_are_left_out(caplog):
    assert list(decode_table(encode_table(FULL, size_max=320)).rows) == [LONG]
    assert "table of repositories is full" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"builtAt": 1, "after": ""}', '{"builtAt": null, "after": ""}\n[1]']
    + [
        f'{{"builtAt": null, "after": ""}}\n{json.dumps(row)}'
        for row in (["UPPER", 1, 1, None, 1], ["a", "x", 1, 1, 1])
    ],
    ids=range(7),
)
def test_content_that_is_no_table_is_refused(text):
    with pytest.raises(SummariesUnreadableError):
        decode_table(b"1\n" + zlib.compress(text.encode()))


@pytest.mark.parametrize("content", [b"9\n", b" " * (16 * 1024 * 1024 + 1)], ids=["version", "size"])
async def test_an_unreadable_table_counts_as_missing(storage, content, caplog):
    await storage.write(summary_keys.REPOSITORY_TABLE, content)
    assert await read_table(storage, offload=inline) == StoredTable()
    assert "will be built again" in caplog.text


async def test_without_a_stored_table_the_changed_repositories_are_known(store, service):
    await store.tag("v1", await store.put_image())
    found = await service.table()
    assert {name: row.tags for name, row in found.repositories.items()} == {NAME: 1}
    assert not found.is_complete


async def test_changes_since_the_last_fold_are_applied(store, service):
    gone = RepositoryName("gone")
    await keep(store, gone, NAME, OTHER)
    await store.tag("v1", await store.put_image())
    await store.tag("v1", await store.put_image(name=LONG), name=LONG)
    await store.changes.record(ChangeKind.DELETE, gone, by="alice")
    found = await service.table()
    assert {name: row.tags for name, row in found.repositories.items()} == {LONG: 1, OTHER: 9, NAME: 1}
    assert list(found.repositories) == sorted(found.repositories)
    assert found.is_complete


async def test_a_later_change_is_applied_too_and_nothing_is_read_twice(store, service):
    await keep(store, NAME)
    image = await store.put_image()
    await store.tag("v1", image)
    assert (await service.table()).repositories[NAME].tags == 1
    await store.tag("v2", image)
    first = await service.table()
    assert first.repositories[NAME].tags == 2
    store.storage.count()
    assert await service.table() is first
    assert store.storage.count() == 1


async def test_folded_changes_come_from_the_stored_table_at_once(store, service):
    await keep(store, OTHER)
    image = await store.put_image()
    await store.tag("v1", image)
    assert (await service.table()).repositories[NAME].tags == 1
    store.time.pass_seconds(RECORD_AGE.total_seconds())
    await store.tag("v2", image)
    await service.table()
    await store.folding().run(store.time.now())
    await store.folding().run(store.time.now())
    assert (await service.table()).repositories[NAME].tags == 2
    store.storage.count()
    assert (await service.table()).repositories[NAME].tags == 2
    assert store.storage.count() == 1


async def test_a_stored_table_is_read_again_after_a_minute(store, service):
    await keep(store, OTHER)
    await service.table()
    await keep(store, OTHER, NAME)
    store.time.pass_seconds(table_module.RELOAD_SECONDS)
    assert (await service.table()).repositories[NAME].tags == 9


async def test_a_record_of_a_process_whose_clock_is_late_is_applied(store, service):
    await keep(store)
    image = await store.put_image()
    await store.tag("v1", image)
    await service.table()
    late = ChangeRecorder(store.storage, now=lambda: store.time.now() - timedelta(hours=1), new_id=lambda: "late")
    await store.point("v2", image)
    await late.record(ChangeKind.PUSH, NAME, tags=[(Tag("v2"), image)], by="bob")
    assert (await service.table()).repositories[NAME].tags == 2


async def test_concurrent_callers_share_one_look(store, service):
    await keep(store, NAME)
    await service.table()
    store.storage.count()

    async def table(_number):
        return await service.table()

    found = await map_bounded(table, range(20), at_once=20)
    assert len({id(each) for each in found}) == 1
    assert store.storage.count() == 1


async def test_a_record_that_cannot_be_read_is_ignored(store, service):
    await keep(store, NAME)
    await store.storage.inner.write(summary_keys.change("20261129T194007.123456Z-1"), b"damaged")
    assert (await service.table()).is_complete


async def test_the_work_of_a_call_is_bounded_and_the_next_call_continues(store, service, monkeypatch):
    monkeypatch.setattr(table_module, "_REFRESHED_MAX", 2)
    await keep(store)
    for number in range(3):
        name = RepositoryName(f"n{number}")
        await store.tag("v1", await store.put_image(name=name), name=name)
    first = await service.table()
    assert (len(first.repositories), first.is_complete) == (2, False)
    second = await service.table()
    assert (len(second.repositories), second.is_complete) == (3, True)


async def test_a_failing_store_fails_the_call_and_is_asked_again(store, service):
    await keep(store, NAME)
    store.storage.fail_at(1)
    with pytest.raises(StorageUnavailableError):
        await service.table()
    assert (await service.table()).is_complete


async def test_the_times_of_pulls_are_those_of_the_repository(store, service):
    image = await store.put_image()
    batch = json.dumps({NAME: {image: 5}, OTHER: {image: 1}}).encode()
    await store.storage.inner.write(layout.pull_batch("1"), batch)
    found = await service.last_pulls(NAME)
    assert found == {image: store.time.now() - timedelta(seconds=5)}
