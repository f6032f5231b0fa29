"""Contract tests of the observing decorator, and tests of its observations."""

import itertools
import logging
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.instrumented import InstrumentedBlobStorage
from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ObjectNotFoundError
from tests.contracts.blob_storage_contract import BlobStorageContract
from tests.support.streams import collect


class TestInstrumentedBlobStorage(BlobStorageContract):
    TELLS_MD5 = True
    LOCKS_ACROSS_INSTANCES = True
    TAKES_FROM_THREADS = True

    @pytest.fixture
    def observed(self):
        return []

    @pytest.fixture
    async def inner(self):
        return InMemoryBlobStorage(now=lambda: datetime.now(UTC))

    @pytest.fixture
    async def storage(self, inner, observed):
        def observe(operation: str, seconds: float, error: type[BaseException] | None) -> None:
            observed.append((operation, seconds, error))

        # Each reading of this clock is one second later than the previous one.
        clock = itertools.count().__next__
        async with InstrumentedBlobStorage(inner, observe=observe, clock=clock) as storage:
            yield storage

    @pytest.fixture
    async def reopen(self, inner):
        async def decorate_again() -> InstrumentedBlobStorage:
            return InstrumentedBlobStorage(inner, observe=lambda *_: None, clock=lambda: 0.0)

        return decorate_again

    @pytest.fixture
    async def leftovers(self, inner):
        async def look() -> list[str]:
            return inner.held()

        return look

    async def test_every_operation_is_measured(self, storage, observed):
        await storage.write("/a/_b", b"1")
        await storage.read("/a/_b")
        await storage.stat("/a/_b")
        await storage.staged_size("/s")
        await storage.move("/a/_b", "/a/_c")
        async with storage.open_reader("/a/_c") as reader:
            await collect(reader)
        async with storage.open_writer("/s") as writer:
            await writer.write(b"1")
            await collect(writer.content())
            await writer.commit("/t")
            await writer.discard()
        await storage.redirect_url("/a/_c", method="GET")
        await storage.check()
        await storage.delete(["/t"])
        await storage.delete([])
        await storage.delete_tree("/t")
        await storage.delete_tree()
        assert [operation for operation, *_ in observed] == [
            "write", "read", "stat", "staged_size", "move", "open_reader", "open_writer", "append", "content",
            "commit", "discard", "redirect_url", "check", "delete", "delete", "delete_tree", "delete_tree",
        ]  # fmt: skip
        assert {seconds for operation, seconds, _ in observed if operation != "content"} == {1}

    @pytest.mark.parametrize("is_exclusive", [True, False])
    async def test_capabilities_are_those_of_the_inner_storage(self, inner, is_exclusive):
        inner.creates_exclusively = inner.tells_md5 = is_exclusive
        storage = InstrumentedBlobStorage(inner, observe=lambda *_: None, clock=lambda: 0.0)
        assert (storage.creates_exclusively, storage.tells_md5) == (is_exclusive, is_exclusive)

    async def test_failed_operation_is_measured(self, storage, observed):
        with pytest.raises(ObjectNotFoundError):
            await storage.read("/missing")
        with pytest.raises(ObjectNotFoundError):
            async with storage.open_reader("/missing"):
                pass
        assert observed == [("read", 1, ObjectNotFoundError), ("open_reader", 1, ObjectNotFoundError)]

    async def test_listing_is_measured_once(self, storage, observed):
        for key in ("/p/a/_x", "/p/b/_x"):
            await storage.write(key, b"")
        observed.clear()
        await collect(storage.list_children("/p"))
        await collect(storage.walk("/p"))
        async with aclosing(storage.list_marked("/p", "_")) as marked:
            assert await anext(marked) == "a"
        # Each page or object, and the end, one second each; the last listing was left after its first path.
        assert observed == [("list_children", 2, None), ("walk", 3, None), ("list_marked", 1, None)]

    async def test_operations_are_logged_for_debugging(self, storage, caplog):
        with caplog.at_level(logging.DEBUG, logger="adapters.blob_storage.instrumented"):
            await storage.write("/a", b"secret content")
        assert caplog.messages == ["write /a took 1.000000 s"]

    async def test_open_file_is_passed_through(self, tmp_path):
        inner = FilesystemBlobStorage(str(tmp_path))
        async with InstrumentedBlobStorage(inner, observe=lambda *_: None, clock=lambda: 0.0) as storage:
            assert storage.name == "filesystem"
            await storage.write("/a", b"content")
            async with storage.open_reader("/a") as reader:
                assert reader.file is not None
                assert reader.file.read() == b"content"
