"""Contract tests of the SCS adapter on the strict endpoint, and on the one for measurements."""

from contextlib import AsyncExitStack

import pytest

from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.scs import ScsOptions
from adapters.blob_storage.scs.storage import ScsBlobStorage
from core.model.secret import Secret
from tests.contracts.blob_storage_contract import BlobStorageContract
from tests.support.s3_servers import stored_in
from tests.support.scs_server import FakeScsServer

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured


def options_for(url: str) -> ScsOptions:
    return ScsOptions(
        access_key="AKTEST",
        secret_key=Secret("SKTEST"),
        region="bjcnc",
        bucket="Images",
        endpoint=url,
        chunk_bytes=5 * MIB,
        parts_in_flight=2,
    )


@pytest.fixture(scope="module")
def in_go(tmp_path_factory, scs_store):
    with scs_store(tmp_path_factory.mktemp("scs"), access_key="AKTEST", secret_key="SKTEST") as server:
        yield server


class TestScsBlobStorage(BlobStorageContract):
    TELLS_MD5 = True
    TAKES_FROM_THREADS = True
    HAS_REDIRECTS = True
    PASSES_OVER = False

    @pytest.fixture
    async def server(self):
        async with FakeScsServer() as server:
            yield server

    @pytest.fixture
    async def reopen(self, server):
        async with AsyncExitStack() as stack:

            async def open_one() -> ScsBlobStorage:
                return await stack.enter_async_context(ScsBlobStorage(options_for(server.url)))

            yield open_one

    @pytest.fixture
    async def storage(self, reopen):
        return await reopen()

    @pytest.fixture
    async def leftovers(self, server):
        async def look() -> list[str]:
            return server.leftovers()

        return look


class TestScsBlobStorageOnStoreForMeasurements(BlobStorageContract):
    """The endpoint in Go that the benchmarks use: it must be as right as the one of the tests."""

    TELLS_MD5 = True
    TAKES_FROM_THREADS = True
    HAS_REDIRECTS = True
    PASSES_OVER = False

    @pytest.fixture
    async def reopen(self, in_go):
        async with AsyncExitStack() as stack:

            async def open_one() -> ScsBlobStorage:
                return await stack.enter_async_context(ScsBlobStorage(options_for(in_go.url)))

            yield open_one

    @pytest.fixture
    async def storage(self, reopen):
        return await reopen()

    @pytest.fixture
    async def leftovers(self, storage):
        return lambda: stored_in(storage)
