from collections.abc import AsyncIterator

import pytest

from adapters.upstream.memory import InMemoryUpstream
from tests.support.cached_services import CachedServices
from tests.support.simulated_time import SimulatedTime


@pytest.fixture
def upstream() -> InMemoryUpstream:
    return InMemoryUpstream("docker.io")


@pytest.fixture
async def cache(time: SimulatedTime, upstream: InMemoryUpstream) -> AsyncIterator[CachedServices]:
    built = CachedServices(time, upstream)
    async with built.storage:
        yield built
        await built.manifests.close()
