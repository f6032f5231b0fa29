"""Contract tests of the Redis cache, and of the pair of caches, on a real server."""

import time

import pytest

from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from adapters.descriptor_cache.redis import RedisDescriptorCache
from adapters.descriptor_cache.redis_options import RedisOptions
from adapters.descriptor_cache.shared import SharedDescriptorCache
from tests.contracts.descriptor_cache_contract import DIGEST, NAME, OTHER, DescriptorCacheContract
from tests.support.core_services import NOW
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tool):
    with RedisServer(tool("redis-server")) as server:
        yield server


@pytest.fixture
def redis_cache(server):
    with server.client() as client:
        client.flushall()
    options = RedisOptions(addrs=(f"127.0.0.1:{server.port}",), retries_max=0, operation_seconds=30.0)
    return RedisDescriptorCache(options, clock=time.monotonic)


class TestRedisDescriptorCache(DescriptorCacheContract):
    @pytest.fixture
    async def cache(self, redis_cache):
        async with redis_cache as cache:
            yield cache


class TestSharedDescriptorCache(DescriptorCacheContract):
    @pytest.fixture
    async def cache(self, redis_cache):
        own = InMemoryDescriptorCache(now=lambda: NOW)
        async with SharedDescriptorCache(own, redis_cache, trusts_one_hit=False) as cache:
            yield cache

    async def test_only_locally_proven_sizes_are_returned(self, cache, redis_cache):
        await redis_cache.put(NAME, DIGEST, 5)
        assert await cache.get(NAME, DIGEST) is None

    async def test_size_forgotten_by_another_process_is_not_returned(self, cache, redis_cache):
        await cache.put(NAME, DIGEST, 5)
        await redis_cache.forget(NAME, DIGEST)
        assert await cache.get(NAME, DIGEST) is None

    async def test_other_processes_are_notified(self, cache, redis_cache):
        await cache.put(NAME, DIGEST, 5)
        assert await redis_cache.get(NAME, DIGEST) == 5
        await cache.put(OTHER, DIGEST, 5)
        await cache.forget(NAME, DIGEST)
        assert await redis_cache.get(NAME, DIGEST) is None
        await cache.forget_everywhere(DIGEST)
        assert await redis_cache.get(OTHER, DIGEST) is None


class TestBelievingSharedDescriptorCache(DescriptorCacheContract):
    @pytest.fixture
    async def cache(self, redis_cache):
        own = InMemoryDescriptorCache(now=lambda: NOW)
        async with SharedDescriptorCache(own, redis_cache, trusts_one_hit=True) as cache:
            yield cache

    async def test_notifications_of_other_processes_are_applied(self, cache, redis_cache):
        await redis_cache.put(NAME, DIGEST, 5)
        assert await cache.get(NAME, DIGEST) == 5
