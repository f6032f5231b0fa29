"""The records of the cache's size, and the admission of content."""

import asyncio
import logging

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.ports.blob_storage import DiskSpace
from core.ports.staging import StagingStorage
from core.pull_through.admission import Admission, LimitedAdmission
from core.pull_through.usage import CacheUsage, Measurement
from core.store import layout
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.simulated_time import SimulatedTime

LIMIT = 1000


class Disk(InMemoryBlobStorage):
    """Store on a disk."""

    free = 500

    async def space(self) -> DiskSpace | None:
        return DiskSpace(total=10_000, free=self.free)


def admission(storage: StagingStorage, process: str = "a", *, size_max: int | None = LIMIT) -> LimitedAdmission:
    return LimitedAdmission(storage, process=lambda: process, size_max=size_max, free_min=lambda _total: 0)


async def measure(storage: StagingStorage, size: int) -> None:
    usage = CacheUsage(storage)
    await usage.record(Measurement(size=size, images=1, counts=await usage.counts()))


async def test_cache_without_limits_admits_everything(storage: InMemoryBlobStorage) -> None:
    assert await Admission().make_room(10**15)
    assert await admission(storage, size_max=None).make_room(10**15)


async def test_measurement_is_read_back(storage: InMemoryBlobStorage, time: SimulatedTime) -> None:
    usage = CacheUsage(storage)
    assert await usage.measurement() is None
    await usage.record(Measurement(size=7, images=2, counts={"a": 3}))
    assert await usage.measurement() == Measurement(size=7, images=2, counts={"a": 3}, measured_at=time.now())
    await storage.write(layout.CACHE_SIZE, b"[]")
    assert await usage.measurement() is None


async def test_growth_is_counted_from_the_measurement() -> None:
    measurement = Measurement(size=7, images=2, counts={"a": 3, "b": 5})
    assert measurement.grown({"a": 4, "b": 2, "c": 10}) == 1 + 10


async def test_counts_of_old_processes_are_removed(storage: InMemoryBlobStorage, time: SimulatedTime) -> None:
    usage = CacheUsage(storage)
    await usage.write_count("old", 1)
    await storage.write(layout.cache_growth("odd"), b"x")
    await time.advance(60)
    await usage.write_count("new", 2)
    assert await usage.counts() == {"old": 1, "new": 2}
    await usage.forget_processes(time.now())
    assert await usage.counts() == {"new": 2}


async def test_content_is_admitted_up_to_the_limit(storage: InMemoryBlobStorage) -> None:
    await measure(storage, 500)
    gate = admission(storage)
    assert await gate.make_room(300)
    assert not gate.wanted.is_set()
    assert await gate.make_room(150)
    assert gate.wanted.is_set(), "an eviction begins before the cache is full"
    assert gate.take_demand() == 0
    assert not gate.wanted.is_set()
    assert not await gate.make_room(51)
    assert not await gate.make_room(60)
    assert gate.wanted.is_set()
    assert gate.take_demand() == 60
    assert await gate.make_room(50)


async def test_content_larger_than_the_cache_is_not_admitted(storage: InMemoryBlobStorage) -> None:
    gate = admission(storage)
    assert not await gate.make_room(LIMIT + 1)
    assert not gate.wanted.is_set()


async def test_first_content_requests_a_measurement(storage: InMemoryBlobStorage) -> None:
    gate = admission(storage)
    assert await gate.make_room(1)
    assert gate.wanted.is_set()


async def test_other_processes_count(storage: InMemoryBlobStorage) -> None:
    await measure(storage, 0)
    gates = [admission(storage, process) for process in "abc"]
    admitted = [gate for _ in range(40) for gate in gates if await gate.make_room(20)]
    # Each process may be a step of 0.5 percent ahead of its record.
    assert LIMIT <= len(admitted) * 20 + 19 <= LIMIT * 1.015 + 19


async def test_measurement_after_an_eviction_makes_room(storage: InMemoryBlobStorage) -> None:
    await measure(storage, 0)
    gate = admission(storage)
    assert await gate.make_room(LIMIT)
    assert not await gate.make_room(100)
    await measure(storage, 800)
    assert await gate.make_room(100)


async def test_small_growth_costs_no_request(storage: InMemoryBlobStorage) -> None:
    counting = FaultyBlobStorage(storage)
    await measure(storage, 0)
    gate = admission(counting, size_max=1_000_000)
    assert await gate.make_room(10)
    before = len(counting.operations)
    assert await gate.make_room(10)
    assert len(counting.operations) == before


async def test_growth_is_recorded_at_the_end(storage: InMemoryBlobStorage) -> None:
    await measure(storage, 0)
    gate = admission(storage, size_max=1_000_000)
    await gate.make_room(10)
    await gate.make_room(10)
    await gate.flush()
    await gate.flush()
    assert await CacheUsage(storage).counts() == {"a": 20}


async def test_content_is_not_admitted_while_the_store_fails(
    storage: InMemoryBlobStorage, caplog: pytest.LogCaptureFixture
) -> None:
    broken = FaultyBlobStorage(storage)
    broken.fail_at(1)
    with caplog.at_level(logging.WARNING):
        assert not await admission(broken).make_room(1)
    assert "not stored in the cache" in caplog.text


async def test_space_on_the_disk_stays_free(time: SimulatedTime) -> None:
    storage = Disk(now=time.now)
    gate = LimitedAdmission(storage, process=lambda: "a", size_max=None, free_min=lambda total: total // 50)
    assert await gate.make_room(100)
    assert not gate.wanted.is_set()
    assert await gate.make_room(300)
    assert gate.wanted.is_set()
    assert not await gate.make_room(301)
    assert gate.take_demand() == 301
    assert not await gate.make_room(9_900)
    assert not gate.wanted.is_set(), "no eviction makes room for this"


async def test_growth_of_another_process_is_noticed_when_content_is_counted(storage: InMemoryBlobStorage) -> None:
    await measure(storage, 0)
    gate = admission(storage)
    assert await gate.make_room(1)
    await CacheUsage(storage).write_count("b", 950)
    assert not await gate.make_room(100)


async def test_refused_content_hides_no_growth_after_a_measurement(storage: InMemoryBlobStorage) -> None:
    await measure(storage, 900)
    gates = [admission(storage, process) for process in "ab"]
    for gate in gates:
        assert not await gate.make_room(200)
    await measure(storage, 800)
    admitted = [gate for _ in range(5) for gate in gates if await gate.make_room(50)]
    assert len(admitted) == 4


async def test_two_processes_that_admit_at_once_do_not_exceed_the_limit(storage: InMemoryBlobStorage) -> None:
    await measure(storage, 800)
    first, second = admission(storage, "a"), admission(storage, "b")
    assert await first.make_room(1)
    assert await second.make_room(1)
    admitted = await asyncio.gather(first.make_room(150), second.make_room(150))
    assert sum(admitted) <= 1
