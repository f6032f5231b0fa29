"""The filesystem adapter keeps the port's promises."""

from contextlib import AsyncExitStack

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from tests.contracts.blob_storage_contract import BlobStorageContract


class TestFilesystemBlobStorage(BlobStorageContract):
    LOCKS_ACROSS_INSTANCES = True

    @pytest.fixture
    async def storage(self, tmp_path):
        async with FilesystemBlobStorage(str(tmp_path)) as storage:
            yield storage

    @pytest.fixture
    async def reopen(self, tmp_path):
        async with AsyncExitStack() as stack:

            async def open_another() -> FilesystemBlobStorage:
                return await stack.enter_async_context(FilesystemBlobStorage(str(tmp_path)))

            yield open_another

    @pytest.fixture
    async def leftovers(self, tmp_path):
        async def look() -> list[str]:
            return [str(path) for path in tmp_path.rglob("*") if path != tmp_path / ".tmp"]

        return look
