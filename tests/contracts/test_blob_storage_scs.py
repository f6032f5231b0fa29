"""Contract tests of the SCS adapter on the strict endpoint."""

from contextlib import AsyncExitStack

import pytest

from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.scs import ScsOptions
from adapters.blob_storage.scs.storage import ScsBlobStorage
from core.model.secret import Secret
from tests.contracts.blob_storage_contract import BlobStorageContract
from tests.support.scs_server import FakeScsServer

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.no_cover


class TestScsBlobStorage(BlobStorageContract):
    TELLS_MD5 = True
    HAS_REDIRECTS = True
    PASSES_OVER = False

    @pytest.fixture
    async def server(self):
        async with FakeScsServer() as server:
            yield server

    @pytest.fixture
    async def reopen(self, server):
        options = ScsOptions(
            access_key="AKTEST",
            secret_key=Secret("SKTEST"),
            region="bjcnc",
            bucket="Images",
            endpoint=server.url,
            chunk_bytes=5 * MIB,
            parts_in_flight=2,
        )
        async with AsyncExitStack() as stack:

            async def open_one() -> ScsBlobStorage:
                return await stack.enter_async_context(ScsBlobStorage(options))

            yield open_one

    @pytest.fixture
    async def storage(self, reopen):
        return await reopen()

    @pytest.fixture
    async def leftovers(self, server):
        async def look() -> list[str]:
            return server.leftovers()

        return look
