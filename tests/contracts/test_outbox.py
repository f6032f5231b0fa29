"""Contract tests of the outbox in memory, in a folder, in S3 and in SCS."""

from datetime import UTC, datetime

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.storage import S3BlobStorage
from adapters.blob_storage.scs import ScsOptions
from adapters.blob_storage.scs.storage import ScsBlobStorage
from core.model.secret import Secret
from tests.contracts.outbox_contract import OutboxContract
from tests.support.s3_servers import moto_endpoint
from tests.support.scs_server import FakeScsServer

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured


class TestOutboxInMemory(OutboxContract):
    @pytest.fixture
    async def storage(self):
        async with InMemoryBlobStorage(now=lambda: datetime.now(UTC)) as storage:
            yield storage


class TestOutboxInFolder(OutboxContract):
    @pytest.fixture
    async def storage(self, tmp_path):
        async with FilesystemBlobStorage(str(tmp_path)) as storage:
            yield storage


@pytest.fixture(scope="module")
def s3_endpoint():
    with moto_endpoint("outbox") as url:
        yield url


class TestOutboxInS3(OutboxContract):
    @pytest.fixture
    async def storage(self, s3_endpoint):
        options = S3Options(bucket="outbox", access_key="key", secret_key=Secret("secret"), region_endpoint=s3_endpoint)
        async with S3BlobStorage(options) as storage:
            yield storage
            await storage.delete_tree("/")


class TestOutboxInScs(OutboxContract):
    @pytest.fixture
    async def storage(self):
        async with FakeScsServer() as server:
            options = ScsOptions(
                access_key="AKTEST", secret_key=Secret("SKTEST"), region="bjcnc", bucket="Images", endpoint=server.url
            )
            async with ScsBlobStorage(options) as storage:
                yield storage
