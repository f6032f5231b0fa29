"""Contract tests of the in-memory adapter."""

from datetime import UTC, datetime

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ObjectNotFoundError, StorageUnavailableError
from tests.contracts.blob_storage_contract import BlobStorageContract
from tests.support.streams import stage


class TestInMemoryBlobStorage(BlobStorageContract):
    TELLS_MD5 = True
    LOCKS_ACROSS_INSTANCES = True
    TAKES_FROM_THREADS = True

    @pytest.fixture
    async def storage(self):
        async with InMemoryBlobStorage(now=lambda: datetime.now(UTC)) as storage:
            yield storage

    @pytest.fixture
    async def reopen(self, storage):
        async def same() -> InMemoryBlobStorage:
            # The store is the instance itself, so no second adapter can share it.
            return storage

        return same

    @pytest.fixture
    async def leftovers(self, storage):
        async def look() -> list[str]:
            return storage.held()

        return look

    async def test_key_is_object_or_prefix(self, storage):
        """A folder cannot contain a file and a folder of one name, so the fake must refuse both, too."""
        await storage.write("/a/b", b"")
        with pytest.raises(StorageUnavailableError, match="there are objects below it"):
            await storage.write("/a", b"")
        with pytest.raises(StorageUnavailableError, match="/a/b is an object"):
            await storage.write("/a/b/c/d", b"")

    async def test_staged_bytes_are_hidden(self, storage):
        await stage(storage, "/a", b"abc")
        with pytest.raises(ObjectNotFoundError):
            await storage.read("/a")

    async def test_finished_writer_takes_no_bytes(self, storage):
        async with storage.open_writer("/a") as writer:
            await writer.commit("/b")
            with pytest.raises(RuntimeError):
                await writer.write(b"late")
            with pytest.raises(ObjectNotFoundError):
                await writer.commit("/c")
