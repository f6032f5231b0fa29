import pytest

from tests.support.core_services import CoreServices


@pytest.fixture
async def services():
    built = CoreServices()
    async with built.storage:
        yield built
