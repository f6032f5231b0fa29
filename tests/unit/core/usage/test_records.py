"""The stored measurement."""

import zlib
from datetime import UTC, datetime

import pytest

from core.model.names import RepositoryName
from core.store import layout
from core.usage.measurement import Amount, Measurement, RepositoryUsage, StoreUsage, order
from core.usage.records import UsageRecords, parse_position, position_of
from tests.support.faulty_blob_storage import FaultyBlobStorage

AT = datetime(2026, 11, 29, 20, tzinfo=UTC)
STORE = StoreUsage(measured_at=AT, seconds=1.5, repositories=4, blobs=Amount(count=2, size=30))
USAGES = sorted(
    [
        RepositoryUsage(name=RepositoryName(name), blobs=blobs, own=own, shared=shared)
        for name, blobs, own, shared in [("b", 1, 20, 0), ("a/b", 2, 20, 5), ("a", 3, 100, 7), ("c", 0, 0, 0)]
    ],
    key=order,
)


@pytest.fixture
def records(storage):
    return UsageRecords(storage)


async def last_of(records):
    last = await records.last()
    assert last is not None
    return last


async def test_a_stored_measurement_is_read_again(records, storage):
    assert await records.last() is None
    await records.save(Measurement(store=STORE, repositories=USAGES))
    for reader in (records, UsageRecords(storage)):
        last = await last_of(reader)
        assert last.store == STORE.as_json()
        assert last.store["measuredAt"] == "2026-11-29T20:00:00Z"
        assert [last.repository(each.name) for each in USAGES] == USAGES
        assert last.repository(RepositoryName("b/a")) is None
        assert last.repository(RepositoryName("a/b/c")) is None


async def test_pages_follow_each_other_by_own_bytes(records):
    await records.save(Measurement(store=STORE, repositories=USAGES))
    last = await last_of(records)
    assert [each.name for each in last.page(10).items] == ["a", "a/b", "b", "c"]
    first = last.page(2)
    assert first.has_more
    second = last.page(2, parse_position(position_of(first.items[-1])))
    assert ([*first.items, *second.items], second.has_more) == (USAGES, False)


async def test_a_page_begins_after_a_repository_that_no_longer_exists(records):
    await records.save(Measurement(store=STORE, repositories=USAGES))
    last = await last_of(records)
    assert [each.name for each in last.page(1, parse_position("50|gone")).items] == ["a/b"]


@pytest.mark.parametrize("text", ["", "5", "|a", "x|a", "-1|a", "5|A", "²|a"])
def test_other_positions_are_rejected(text):
    assert parse_position(text) is None


async def test_no_repositories(records):
    await records.save(Measurement(store=STORE, repositories=[]))
    last = await last_of(records)
    assert last.page(5).items == []
    assert last.repository(RepositoryName("a")) is None


@pytest.mark.parametrize(
    "content", [b"", b"x", zlib.compress(b"usage 0\n{}\n"), zlib.compress(b"usage 1\n{\n"), zlib.compress(b"\xff")]
)
async def test_an_object_that_cannot_be_read_is_no_measurement(records, storage, content):
    await storage.write(layout.USAGE, content)
    assert await records.last() is None


async def test_a_known_measurement_costs_one_request(storage):
    counted = FaultyBlobStorage(storage)
    records = UsageRecords(counted)
    await records.save(Measurement(store=STORE, repositories=USAGES))
    await records.last()
    before = len(counted.operations)
    await records.last()
    assert len(counted.operations) == before + 1
