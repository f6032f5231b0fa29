"""The in-memory caches keep the port's promises, and their bounds."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.descriptor_cache.memory import DisabledDescriptorCache, InMemoryDescriptorCache
from core.digest import Digest
from tests.contracts.descriptor_cache_contract import DIGEST, NAME, DescriptorCacheContract

START = datetime(2026, 11, 24, tzinfo=UTC)


class TestInMemoryDescriptorCache(DescriptorCacheContract):
    @pytest.fixture
    def clock(self):
        return [START]

    @pytest.fixture
    async def cache(self, clock):
        async with InMemoryDescriptorCache(now=lambda: clock[0], entries_max=2) as cache:
            yield cache

    async def test_entry_is_believed_for_five_minutes(self, cache, clock):
        await cache.put(NAME, DIGEST, 5)
        clock[0] = START + timedelta(minutes=5, microseconds=-1)
        assert await cache.get(NAME, DIGEST) == 5
        clock[0] = START + timedelta(minutes=5)
        assert await cache.get(NAME, DIGEST) is None

    async def test_entry_used_longest_ago_goes_first(self, cache):
        first, second, third = (Digest.of(content) for content in (b"1", b"2", b"3"))
        await cache.put(NAME, first, 1)
        await cache.put(NAME, second, 2)
        assert await cache.get(NAME, first) == 1
        await cache.put(NAME, third, 3)
        assert [await cache.get(NAME, digest) for digest in (first, second, third)] == [1, None, 3]


class TestDisabledDescriptorCache(DescriptorCacheContract):
    REMEMBERS = False

    @pytest.fixture
    async def cache(self):
        async with DisabledDescriptorCache() as cache:
            yield cache
