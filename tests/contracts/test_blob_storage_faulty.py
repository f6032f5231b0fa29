"""Tests of the faulty storage: the contract without faults, and the injected failures."""

from datetime import UTC, datetime

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ObjectNotFoundError, StorageUnavailableError
from tests.contracts.blob_storage_contract import BlobStorageContract
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.streams import collect, read_stream, stage

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured


def memory() -> InMemoryBlobStorage:
    return InMemoryBlobStorage(now=lambda: datetime.now(UTC))


class TestFaultyBlobStorage(BlobStorageContract):
    TELLS_MD5 = True
    LOCKS_ACROSS_INSTANCES = True

    @pytest.fixture
    async def storage(self):
        async with FaultyBlobStorage(memory(), delay_rate=0.5, splits_trees=True) as storage:
            yield storage

    @pytest.fixture
    async def reopen(self, storage):
        async def again() -> FaultyBlobStorage:
            return FaultyBlobStorage(storage.inner, seed=1)

        return again

    @pytest.fixture
    async def leftovers(self, storage):
        async def look() -> list[str]:
            return storage.inner.held()

        return look

    async def test_chosen_operation_fails_once(self, storage):
        await storage.write("/a", b"1")
        storage.fail_at(2)
        assert await storage.read("/a") == b"1"
        with pytest.raises(StorageUnavailableError, match="write /a"):
            await storage.write("/a", b"2")
        assert await storage.read("/a") == b"1"
        await storage.write("/a", b"3")

    async def test_stopped_storage_refuses_all_operations(self, storage):
        storage.stop_after(2)
        await storage.write("/a", b"1")
        async with storage.open_writer("/s") as writer:
            await writer.write(b"kept")
            assert await storage.read("/a") == b"1"
            with pytest.raises(StorageUnavailableError):
                await writer.write(b"never")
            with pytest.raises(StorageUnavailableError):
                await writer.commit("/b")
        with pytest.raises(StorageUnavailableError):
            await storage.read("/a")
        with pytest.raises(StorageUnavailableError):
            await collect(storage.walk("/"))
        assert storage.mutations == ["write /a", "append /s"]
        storage.heal()
        assert await stage(storage, "/s", resume=True) == 4

    async def test_tree_may_be_deleted_in_part(self, storage):
        for key in ("/t/current/link", "/t/index/1", "/t/index/2"):
            await storage.write(key, b"")
        storage.stop_after(2)
        with pytest.raises(StorageUnavailableError):
            await storage.delete_tree("/t")
        storage.heal()
        assert [key async for key, _ in storage.walk("/t")] == ["/t/current/link"]


async def outcomes(seed: int) -> list[str]:
    storage = FaultyBlobStorage(memory(), seed=seed, error_rate=0.3, cut_rate=0.3)
    told = []
    for number in range(60):
        try:
            await storage.write(f"/{number}", b"x")
            told.append("written")
        except StorageUnavailableError:
            try:
                await storage.inner.stat(f"/{number}")
                told.append("answer lost")
            except ObjectNotFoundError:
                told.append("not written")
    return told


async def test_seed_decides_outcomes():
    assert await outcomes(1) == await outcomes(1) != await outcomes(2)
    assert set(await outcomes(1)) == {"written", "answer lost", "not written"}


async def test_streams_are_cut():
    storage = FaultyBlobStorage(memory(), seed=3, cut_rate=1.0)
    await storage.write("/a", bytes(4 * 1024 * 1024))
    for _ in range(5):
        with pytest.raises(StorageUnavailableError, match="seed 3"):
            await read_stream(storage, "/a")
