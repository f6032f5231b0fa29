from collections.abc import AsyncIterator

import pytest

from adapters.upstream.memory import InMemoryUpstream
from tests.support.cached_services import CachedServices
from tests.support.pull_through import Machine
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


@pytest.fixture
async def machine():
    built = Machine()
    async with built.services.storage:
        yield built


@pytest.fixture
async def process(machine):
    async with machine.process() as process:
        yield process


@pytest.fixture
async def sibling(machine):
    """Return another process of the same machine."""
    async with machine.process() as process:
        yield process
