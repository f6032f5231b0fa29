"""Contract tests of the filesystem adapter, with and without reads from the kernel's page cache."""

import os
from contextlib import AsyncExitStack

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from tests.contracts.blob_storage_contract import BlobStorageContract


class TestFilesystemBlobStorage(BlobStorageContract):
    LOCKS_ACROSS_INSTANCES = True
    TAKES_FROM_THREADS = True
    MANY = 300  # Listings fetch 128 entries per thread call; creating more files would dominate the run time.

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

    @pytest.fixture
    async def plant(self, tmp_path):
        async def put(key: str) -> None:
            path = tmp_path / key.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

        return put


class TestFilesystemBlobStorageByThreads(TestFilesystemBlobStorage):
    """Like NFS: threads make every call that may block, and there are only few threads."""

    @pytest.fixture
    async def storage(self, tmp_path, monkeypatch):
        monkeypatch.delattr(os, "RWF_NOWAIT")
        async with FilesystemBlobStorage(str(tmp_path), threads_max=2) as storage:
            yield storage
