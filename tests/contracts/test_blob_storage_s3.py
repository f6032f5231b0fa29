"""Contract tests of the S3 adapter: on versitygw, which stores objects as files, and on a limited store over moto."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from adapters.blob_storage.s3 import S3Options
from adapters.blob_storage.s3.options import MIB
from adapters.blob_storage.s3.storage import S3BlobStorage
from core.model.secret import Secret
from tests.contracts.blob_storage_contract import BlobStorageContract
from tests.support.limited_s3 import limited_s3
from tests.support.s3_servers import moto_endpoint, stored_in, versitygw_endpoint
from tests.support.tools import is_installed

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

BUCKET = "contract"
HAS_VERSITYGW = is_installed("versitygw")
"""Whether the real server is there. Without it, `make check` runs the whole contract on moto."""
PAGE_ENTRIES = 100
"""Page size of the limited store, which returns fewer entries than the 1,000 requested."""


def options_for(url: str, **changes: Any) -> S3Options:
    settings: dict[str, Any] = {
        "bucket": BUCKET,
        "access_key": "key",
        "secret_key": Secret("secret"),
        "region_endpoint": url,
        "chunk_bytes": 5 * MIB,
        "parts_in_flight": 2,
        "multipart_copy_threshold_bytes": 5 * MIB,
        "multipart_copy_chunk_bytes": 5 * MIB,
    }
    return S3Options(**(settings | changes))


@pytest.fixture(scope="module")
def endpoint():
    with moto_endpoint(BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def server(request, tmp_path_factory, tool):
    """Return the URL of versitygw; without `--require-live` and versitygw, that of moto."""
    if not HAS_VERSITYGW and not request.config.getoption("--require-live"):
        yield request.getfixturevalue("endpoint")
        return
    with versitygw_endpoint(tool("versitygw"), BUCKET, tmp_path_factory.mktemp("versitygw")) as url:
        yield url


@pytest.fixture(scope="module")
def limited(endpoint):
    with limited_s3(endpoint, page_entries_max=PAGE_ENTRIES) as (url, _):
        yield url


class TestS3BlobStorage(BlobStorageContract):
    MANY = BlobStorageContract.MANY if HAS_VERSITYGW else 110  # Moto needs 20 ms for each key.
    TELLS_MD5 = True
    TAKES_FROM_THREADS = True
    HAS_REDIRECTS = True
    PASSES_OVER = False
    # versitygw makes the folders of a key before it moves the object into them, and lists them in between.
    LISTS_READABLE_ONLY = not HAS_VERSITYGW

    @pytest.fixture
    async def stack(self):
        async with AsyncExitStack() as stack:
            yield stack

    @pytest.fixture
    async def reopen(self, stack, server):
        options = options_for(server, root_directory="/registry/")

        async def open_one() -> S3BlobStorage:
            return await stack.enter_async_context(S3BlobStorage(options))

        return open_one

    @pytest.fixture
    async def storage(self, reopen):
        return await reopen()

    @pytest.fixture
    async def leftovers(self, storage):
        return lambda: stored_in(storage)

    @pytest.fixture
    async def plant(self, storage):
        async def put(key: str) -> None:
            await storage.client.call("put_object", key=key, Body=b"x")

        return put


class TestS3BlobStorageWithFoundCredentials(TestS3BlobStorage):
    """botocore finds the credentials and sends the first request; afterwards they sign the adapter's own requests."""

    MANY = 110  # Other requests than the first differ from those of the class above by their signer only.

    @pytest.fixture
    async def reopen(self, stack, server, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        options = options_for(server, access_key=None, secret_key=None, root_directory="/found/")

        async def open_one() -> S3BlobStorage:
            return await stack.enter_async_context(S3BlobStorage(options))

        return open_one


class TestS3BlobStorageBySdk(TestS3BlobStorage):
    """All requests by botocore's client, because only botocore knows their signature."""

    MANY = 110
    LISTS_READABLE_ONLY = True

    @pytest.fixture
    async def reopen(self, stack, endpoint):
        options = options_for(endpoint, v4_auth=False, root_directory="/sdk/")

        async def open_one() -> S3BlobStorage:
            return await stack.enter_async_context(S3BlobStorage(options))

        return open_one


class TestS3BlobStorageOnLimitedStore(BlobStorageContract):
    """Store without DeleteObjects, conditional writes, copies of parts and listings of uploads; with short pages."""

    MANY = PAGE_ENTRIES + 10  # Each key costs one request to write and another to delete.
    TELLS_MD5 = True
    TAKES_FROM_THREADS = True
    HAS_REDIRECTS = True
    PASSES_OVER = False

    @pytest.fixture
    async def reopen(self, limited):
        options = options_for(limited, root_directory="/limited/")
        async with AsyncExitStack() as stack:

            async def open_one() -> S3BlobStorage:
                return await stack.enter_async_context(S3BlobStorage(options))

            yield open_one

    @pytest.fixture
    async def storage(self, reopen):
        storage = await reopen()
        # An adapter learns on its first attempt that only its own process can create exclusively.
        await storage.create("/first", b"")
        await storage.delete(["/first"])
        return storage

    @pytest.fixture
    async def leftovers(self, storage):
        return lambda: stored_in(storage)

    @pytest.fixture
    async def plant(self, storage):
        async def put(key: str) -> None:
            await storage.client.call("put_object", key=key, Body=b"x")

        return put
