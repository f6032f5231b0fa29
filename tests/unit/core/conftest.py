import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from tests.support.core_services import CoreServices
from tests.support.simulated_time import SimulatedTime


@pytest.fixture
async def services():
    built = CoreServices()
    async with built.storage:
        yield built


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
def storage(time):
    return InMemoryBlobStorage(now=time.now)
