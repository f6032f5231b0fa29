"""Contract tests of the in-memory caches, and tests of their limits."""

import asyncio
import multiprocessing
import warnings
from datetime import UTC, datetime, timedelta

import pytest

from adapters.descriptor_cache.marks import SharedMarks
from adapters.descriptor_cache.memory import DisabledDescriptorCache, InMemoryDescriptorCache
from core.model.digest import Digest
from tests.contracts.descriptor_cache_contract import DIGEST, NAME, OTHER, DescriptorCacheContract

START = datetime(2026, 11, 24, tzinfo=UTC)


class TestInMemoryDescriptorCache(DescriptorCacheContract):
    @pytest.fixture
    def clock(self):
        return [START]

    @pytest.fixture
    async def cache(self, clock):
        async with InMemoryDescriptorCache(now=lambda: clock[0], entries_max=2) as cache:
            yield cache

    async def test_entry_is_valid_for_five_minutes(self, cache, clock):
        await cache.put(NAME, DIGEST, 5)
        clock[0] = START + timedelta(minutes=5, microseconds=-1)
        assert await cache.get(NAME, DIGEST) == 5
        clock[0] = START + timedelta(minutes=5)
        assert await cache.get(NAME, DIGEST) is None

    async def test_least_recently_used_entry_is_evicted_first(self, cache):
        first, second, third = (Digest.of(content) for content in (b"1", b"2", b"3"))
        await cache.put(NAME, first, 1)
        await cache.put(NAME, second, 2)
        assert await cache.get(NAME, first) == 1
        await cache.put(NAME, third, 3)
        assert [await cache.get(NAME, digest) for digest in (first, second, third)] == [1, None, 3]

    async def test_entry_forgotten_by_another_process_is_a_miss(self, clock):
        """The two caches share only the marks."""
        marks = SharedMarks()
        one, two = (InMemoryDescriptorCache(now=lambda: clock[0], marks=marks) for _ in range(2))
        for cache in (one, two):
            await cache.put(NAME, DIGEST, 5)
            await cache.put(OTHER, DIGEST, 5)
        await one.forget(NAME, DIGEST)
        assert await two.get(NAME, DIGEST) is None
        assert await two.get(OTHER, DIGEST) == 5
        await one.forget_everywhere(DIGEST)
        assert await two.get(OTHER, DIGEST) is None
        await two.put(NAME, DIGEST, 6)
        assert await two.get(NAME, DIGEST) == 6

    async def test_forked_process_shares_the_marks(self, cache):
        await cache.put(NAME, DIGEST, 5)
        # A child of os.fork in a process with threads may hang; this child only writes to memory.
        child = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(cache.forget(NAME, DIGEST)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        child.join(60)
        assert child.exitcode == 0
        assert await cache.get(NAME, DIGEST) is None


class TestDisabledDescriptorCache(DescriptorCacheContract):
    REMEMBERS = False

    @pytest.fixture
    async def cache(self):
        async with DisabledDescriptorCache() as cache:
            yield cache
