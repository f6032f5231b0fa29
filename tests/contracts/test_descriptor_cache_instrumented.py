"""Contract tests of the counting decorator, and tests of its hits and misses."""

from datetime import UTC, datetime

import pytest

from adapters.descriptor_cache.instrumented import InstrumentedDescriptorCache
from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from tests.contracts.descriptor_cache_contract import DIGEST, NAME, DescriptorCacheContract


class TestInstrumentedDescriptorCache(DescriptorCacheContract):
    @pytest.fixture
    def observed(self):
        return []

    @pytest.fixture
    async def cache(self, observed):
        def observe(*, hit: bool) -> None:
            observed.append(hit)

        inner = InMemoryDescriptorCache(now=lambda: datetime.now(UTC))
        async with InstrumentedDescriptorCache(inner, observe=observe) as cache:
            yield cache

    async def test_hits_and_misses_are_counted(self, cache, observed):
        assert cache.name == "inmemory"
        await cache.get(NAME, DIGEST)
        await cache.put(NAME, DIGEST, 5)
        await cache.get(NAME, DIGEST)
        await cache.forget(NAME, DIGEST)
        await cache.get(NAME, DIGEST)
        assert observed == [False, True, False]
