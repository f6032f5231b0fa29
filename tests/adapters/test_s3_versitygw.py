"""The S3 adapter keeps the port's promises towards a real S3 server, which stores objects as files."""

from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.model.secret import Secret
from tests.contracts.blob_storage_contract import BlobStorageContract
from tests.support.s3_servers import stored_in, versitygw_endpoint

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = [pytest.mark.e2e, pytest.mark.no_cover]

BUCKET = "contract"


@pytest.fixture(scope="module")
def endpoint(tool, tmp_path_factory):
    with versitygw_endpoint(tool("versitygw"), BUCKET, tmp_path_factory.mktemp("versitygw")) as url:
        yield url


class TestS3BlobStorageOnVersitygw(BlobStorageContract):
    TELLS_MD5 = True
    HAS_REDIRECTS = True
    PASSES_OVER = False
    # It makes the folders of a key before it moves the object into them, and lists them in between.
    LISTS_READABLE_ONLY = False

    @pytest.fixture
    async def reopen(self, endpoint):
        options = S3Options(
            bucket=BUCKET,
            access_key="key",
            secret_key=Secret("secret"),
            region_endpoint=endpoint,
            chunk_bytes=5 * MIB,
            parts_in_flight=2,
            multipart_copy_threshold_bytes=5 * MIB,
            multipart_copy_chunk_bytes=5 * MIB,
        )
        async with AsyncExitStack() as stack:

            async def open_one() -> S3BlobStorage:
                return await stack.enter_async_context(S3BlobStorage(options))

            yield open_one

    @pytest.fixture
    async def storage(self, reopen):
        return await reopen()

    @pytest.fixture
    async def leftovers(self, storage):
        async def look() -> list[str]:
            return await stored_in(storage)

        return look

    async def test_unfinished_uploads_of_others_are_found_and_dropped(self, storage):
        """Begun by a process that was killed before it wrote a record."""
        key = "/docker/registry/v2/blobs/sha256/ab/abcd/data"
        await storage.write("/time", b"")
        now = (await storage.stat("/time")).modified_at
        await storage.client.call("create_multipart_upload", key=key)
        hour = timedelta(hours=1)
        before = {"before": now - hour, "is_spared": lambda _key: False}
        assert await storage.drop_unfinished("/docker", **before) == []
        after = {"before": now + hour, "is_spared": lambda _key: False}
        assert await storage.drop_unfinished("/elsewhere", **after) == []
        assert await storage.drop_unfinished("/docker", **after, dry_run=True) == [key]
        assert await storage.drop_unfinished("/docker", **after) == [key]
        assert await storage.drop_unfinished("/docker", **after) == []
        await storage.delete_tree("/")
        assert await stored_in(storage) == []
