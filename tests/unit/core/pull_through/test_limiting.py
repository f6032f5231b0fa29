"""The limits of the cache: when images are removed, and how many."""

from datetime import timedelta

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.ports.blob_storage import DiskSpace
from core.pull_through.eviction import EvictionReport
from core.pull_through.limiting import LimitKeeper, Limits
from core.pull_through.usage import CacheUsage, Measurement
from core.store.clock import StoreClock
from tests.support.cached_store import CachedStore

NAME = "hub/library/alpine"


class Disk(InMemoryBlobStorage):
    """Store on a disk."""

    free = 10_000

    @override
    async def space(self) -> DiskSpace | None:
        return DiskSpace(total=10_000, free=self.free)


@pytest.fixture
def cache() -> CachedStore:
    return CachedStore()


def keeper(cache: CachedStore, limits: Limits) -> LimitKeeper:
    storage = cache.storage
    return LimitKeeper(cache.evictor(), storage, CacheUsage(storage), StoreClock(storage), limits)


async def enforce(cache: CachedStore, limits: Limits) -> EvictionReport | None:
    return await cache.finish(keeper(cache, limits).enforce())


async def fill(cache: CachedStore, count: int) -> int:
    """Store images, one an hour; return the size of one."""
    for number in range(count):
        await cache.fetch(NAME, b"%04d" % number, [b"layer %04d" % number], tags=[f"v{number}"])
        await cache.time.advance(3600)
    return (await cache.survey()).size // count


async def names(cache: CachedStore) -> list[str]:
    return sorted(tag for image in (await cache.survey()).images for tag in image.tags)


async def test_first_call_measures_the_cache(cache: CachedStore) -> None:
    size = await fill(cache, 2)
    limits = keeper(cache, Limits())
    assert await limits.size() is None
    assert await cache.finish(limits.enforce()) == EvictionReport(size_before=2 * size, size=2 * size)
    measured = await limits.size()
    assert measured
    assert (measured.total, measured.measurement.images) == (2 * size, 2)


async def test_small_cache_is_not_surveyed_again_soon(cache: CachedStore) -> None:
    await fill(cache, 1)
    limits = Limits(size_max=10**6, unused=timedelta(hours=2))
    assert await enforce(cache, limits)
    assert await enforce(cache, limits) is None
    await cache.time.advance(3700)
    report = await enforce(cache, limits)
    assert report
    assert len(report.images) == 1


async def test_size_shrinks_to_four_fifths_once_it_exceeds_nine_tenths(cache: CachedStore) -> None:
    size = await fill(cache, 10)
    assert await enforce(cache, Limits(size_max=size * 11 + size // 2))
    assert len(await names(cache)) == 10
    assert await enforce(cache, Limits(size_max=size * 11))
    assert await names(cache) == [f"v{number}" for number in range(2, 10)]


async def test_content_that_was_refused_gets_room(cache: CachedStore) -> None:
    size = await fill(cache, 5)
    limits = Limits(size_max=size * 10)
    assert await enforce(cache, limits)
    assert await enforce(cache, limits) is None
    report = await cache.finish(keeper(cache, limits).enforce(demand=size * 8))
    assert report
    assert await names(cache) == ["v3", "v4"]


async def test_growth_since_the_measurement_counts(cache: CachedStore) -> None:
    await fill(cache, 1)
    usage = CacheUsage(cache.storage)
    await usage.record(Measurement(size=100, images=1, counts={"a": 5}))
    limits = Limits(size_max=10_000)
    assert await enforce(cache, limits) is None
    await usage.write_count("a", 9_000)
    size = await keeper(cache, limits).size()
    assert size
    assert (size.total, size.grown) == (100 + 8_995, 8_995)
    assert await enforce(cache, limits)


async def test_space_is_freed_on_a_full_disk(cache: CachedStore) -> None:
    disk = Disk(now=cache.time.now)
    cache.storage = disk
    size = await fill(cache, 4)
    limits = Limits(free_min=lambda total: total // 10)
    await enforce(cache, limits)
    assert await enforce(cache, limits) is None
    disk.free = 1100
    report = await enforce(cache, limits)
    assert report
    assert sum(size for _ in report.images) >= 150 > sum(size for _ in report.images[1:])
    disk.free = 2000
    assert await enforce(cache, limits) is None
    report = await cache.finish(keeper(cache, limits).enforce(demand=1000))
    assert report
    assert report.images
