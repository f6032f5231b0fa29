"""An SCS endpoint and its storage, for the tests that do not define a `server` or `storage` of their own."""

import pytest

from tests.support.scs_server import FakeScsServer
from tests.support.scs_storage import scs_storage


@pytest.fixture
async def server():
    async with FakeScsServer() as server:
        yield server


@pytest.fixture
async def storage(server):
    async with scs_storage(server) as storage:
        yield storage
