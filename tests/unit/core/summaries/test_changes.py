"""Change records: written once per operation, read once per process, and never in the way of an operation."""

import json
import logging
from datetime import timedelta

import pytest

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import summary_keys
from core.summaries import changes as changes_module
from core.summaries.changes import Change, ChangeKind, ChangeLog, ChangeRecorder, parse_record
from tests.support.core_services import NOW, counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME = RepositoryName("team/web-app")
LONG = RepositoryName("a/" + "b" * 200)
TAG = Tag("v1")
DIGEST = Digest.of(b"manifest")


@pytest.fixture
def counted(storage):
    return FaultyBlobStorage(storage)


@pytest.fixture
def recorder(counted):
    return ChangeRecorder(counted, now=lambda: NOW, new_id=counting_ids())


async def changes_of(log, name):
    return [change for _, found in await log.changes(await log.listing(), name) for change in found]


@pytest.mark.parametrize("name", [NAME, LONG], ids=["short", "long"])
async def test_a_change_is_read_as_recorded(counted, recorder, name):
    await recorder.record(ChangeKind.PUSH, name, tags=[(TAG, DIGEST), (Tag("latest"), None)], by="alice")
    found = await changes_of(ChangeLog(counted), name)
    assert found == [
        Change(kind=ChangeKind.PUSH, at=NOW, repository=name, tag=TAG, digest=DIGEST, by="alice"),
        Change(kind=ChangeKind.PUSH, at=NOW, repository=name, tag=Tag("latest"), by="alice"),
    ]


async def test_a_change_without_tags_names_the_repository_only(counted, recorder):
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    assert await changes_of(ChangeLog(counted), NAME) == [Change(kind=ChangeKind.OTHER, at=NOW, repository=NAME)]


async def test_the_listing_shows_which_repositories_changed_without_a_read(counted, recorder):
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    await recorder.record(ChangeKind.OTHER, LONG, by="")
    listing = await ChangeLog(counted).listing()
    assert [record.repository for record in listing.records] == [NAME, None]
    assert len(listing.names) == 2
    assert not [operation for operation in counted.operations if operation.startswith("read")]


async def test_a_record_is_read_once(counted, recorder):
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    log = ChangeLog(counted)
    await changes_of(log, NAME)
    await changes_of(log, NAME)
    assert len([operation for operation in counted.operations if operation.startswith("read")]) == 1


async def test_changes_of_another_repository_are_not_returned(counted, recorder):
    await recorder.record(ChangeKind.OTHER, LONG, by="")
    assert await changes_of(ChangeLog(counted), RepositoryName("a/" + "c" * 200)) == []


async def test_a_change_of_many_tags_is_written_in_bounded_records(counted, recorder):
    tags = [(Tag(f"t{number}"), DIGEST) for number in range(2_500)]
    await recorder.record(ChangeKind.DELETE, NAME, tags=tags, by="u" * 1_000)
    assert len(counted.mutations) == 3
    found = await changes_of(ChangeLog(counted), NAME)
    assert len(found) == 2_500
    assert found[0].by == "u" * 256


async def test_a_failing_store_does_not_fail_the_operation(counted, recorder, caplog):
    counted.fail_at(1)
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    assert "change not recorded" in caplog.text
    assert await changes_of(ChangeLog(counted), NAME) == []


async def test_nothing_is_recorded_when_summaries_are_off(counted):
    recorder = ChangeRecorder(counted, now=lambda: NOW, new_id=counting_ids(), is_enabled=False)
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    assert counted.mutations == []


BAD_CHANGES = [
    b"",
    b"{",
    b"[" * 100_000,
    b"[]",
    b"{}",
    json.dumps({"repository": "UPPER", "changes": []}).encode(),
    json.dumps({"repository": "another", "changes": [{"kind": "push", "at": NOW.isoformat()}]}).encode(),
    *(
        json.dumps({"repository": NAME, "changes": changes}).encode()
        for changes in (
            [],
            ["text"],
            [{"kind": "push", "at": "2026-01-01T00:00:00"}],
            [{"kind": "push", "at": "yesterday"}],
            [{"kind": "unknown", "at": NOW.isoformat()}],
            [{"kind": "push", "at": NOW.isoformat(), "tag": "-"}],
            [{"kind": "push", "at": NOW.isoformat(), "digest": "sha256:0"}],
        )
    ),
]


@pytest.mark.parametrize("content", [*BAD_CHANGES, b" " * 1_100_000], ids=range(15))
async def test_a_record_that_cannot_be_read_is_ignored_with_one_warning(storage, content, caplog):
    caplog.set_level(logging.WARNING)
    key = summary_keys.change(summary_keys.change_record("20261129T194007.123456Z-1", NAME))
    await storage.write(key, content)
    log = ChangeLog(storage)
    assert await changes_of(log, NAME) == []
    assert await changes_of(log, NAME) == []
    assert caplog.text.count("change ignored") == 1


async def test_a_record_that_was_folded_after_the_listing_is_missing(storage):
    recorder = ChangeRecorder(storage, now=lambda: NOW, new_id=counting_ids())
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    log = ChangeLog(storage)
    listing = await log.listing()
    await storage.delete_tree(summary_keys.CHANGES)
    assert await log.changes(listing, NAME) == []


async def test_a_listing_parses_only_new_records(storage, monkeypatch):
    parsed = []

    def parse(name):
        parsed.append(name)
        return parse_record(name)

    monkeypatch.setattr(changes_module, "parse_record", parse)
    recorder = ChangeRecorder(storage, now=lambda: NOW, new_id=counting_ids())
    log = ChangeLog(storage)
    for number in range(1, 4):
        await recorder.record(ChangeKind.OTHER, NAME, by="")
        listing = await log.listing()
        assert listing.names == set(parsed)
        assert len(listing.records) == len(parsed) == number


async def test_a_listing_forgets_folded_records(storage):
    recorder = ChangeRecorder(storage, now=lambda: NOW, new_id=counting_ids())
    log = ChangeLog(storage)
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    (folded,) = (await log.listing()).records
    await storage.delete([summary_keys.change(folded.name)])
    assert (await log.listing()).records == []
    await recorder.record(ChangeKind.OTHER, LONG, by="")
    assert [record.repository for record in (await log.listing()).records] == [None]


async def test_objects_of_other_programs_are_no_records(storage):
    await storage.write(summary_keys.change("readme.txt"), b"")
    assert (await ChangeLog(storage).listing()).records == []
    assert parse_record("20261129T194007.123456Z-1_UPPER") is None


async def test_the_number_of_listed_records_is_bounded(storage, monkeypatch):
    monkeypatch.setattr(changes_module, "LISTED_MAX", 2)
    recorder = ChangeRecorder(storage, now=lambda: NOW, new_id=counting_ids())
    for _ in range(2):
        await recorder.record(ChangeKind.OTHER, NAME, by="")
    log = ChangeLog(storage)
    assert (await log.listing()).is_complete
    await recorder.record(ChangeKind.OTHER, NAME, by="")
    listing = await log.listing()
    assert (len(listing.records), listing.is_complete) == (2, False)


async def test_the_number_of_changes_in_memory_is_bounded(counted, monkeypatch):
    monkeypatch.setattr(changes_module, "_REMEMBERED_MAX", 4)
    recorder = ChangeRecorder(counted, now=lambda: NOW, new_id=counting_ids())
    for _ in range(3):
        await recorder.record(ChangeKind.OTHER, NAME, by="")
    log = ChangeLog(counted)
    await changes_of(log, NAME)
    before = len(counted.operations)
    newest = (await log.listing()).records[-1]
    await log.read(newest)
    assert len(counted.operations) == before + 1, "the newest record is in memory"
    assert len(await changes_of(log, NAME)) == 3


async def test_keys_of_records_sort_by_time(storage):
    moments = iter([NOW + timedelta(seconds=1), NOW])
    recorder = ChangeRecorder(storage, now=lambda: next(moments), new_id=counting_ids())
    await recorder.record(ChangeKind.OTHER, NAME, by="second")
    await recorder.record(ChangeKind.OTHER, NAME, by="first")
    assert [change.by for change in await changes_of(ChangeLog(storage), NAME)] == ["first", "second"]


def test_the_longest_key_fits_into_a_file_name():
    longest = RepositoryName("a/" + "b" * 148)
    record = summary_keys.change_record("20261129T194007.123456Z-" + "0" * 40, longest)
    assert len(record) < 255
    assert summary_keys.parse_change_record(record)[1] == longest
