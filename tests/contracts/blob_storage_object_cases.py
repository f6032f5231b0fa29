"""Small objects: `read`, `write`, `stat`, `move`, `redirect_url`, `check`, and refused keys."""

import asyncio
import hashlib
from datetime import timedelta

import pytest

from core.errors import ObjectNotFoundError, ObjectTooLargeError
from tests.support.streams import collect, payload

ILLEGAL_KEYS = [
    "", "a", "a/b", "/", "//", "/a/", "//a", "/a//b", "/.", "/..", "/a/.", "/a/..", "/a/./b", "/a/../b",
    "/../a", "/a b", "/a\n", "/a\0b", "/a:b", "/a\\b", "/é", "/a%2e", "/~",
]  # fmt: skip

LEGAL_KEYS = [
    "/a", "/Z9._-/x", "/...", "/.../x", "/..a/x", "/a../x", "/.a", "/-", "/_", "/a.b/c_d/e-f",
    "/0/1/2/3/4/5/6/7/8/9", "/" + "n" * 255, "/" + "/".join("abcdefghij"[i % 10] * 20 for i in range(20)),
]  # fmt: skip


class ObjectCases:
    TELLS_MD5: bool
    HAS_REDIRECTS: bool
    SHARES_STORE: bool

    @pytest.mark.parametrize("content", [b"", b"x", b"\x00\xff\xfe\n\r", payload(4 * 1024 * 1024)], ids=len)
    async def test_written_object_is_read_back(self, storage, content):
        await storage.write("/a/object", content)
        assert await storage.read("/a/object") == content
        assert (await storage.stat("/a/object")).size == len(content)

    async def test_objects_are_written_in_order(self, storage):
        await storage.write_all([("/a/link", b"first"), ("/b/link", b"second"), ("/a/link", b"third")])
        assert await storage.read("/a/link") == b"third"
        assert await storage.read("/b/link") == b"second"
        await storage.write_all([])

    async def test_failed_write_of_many_keeps_at_most_the_objects_before_it(self, storage):
        with pytest.raises(ValueError, match="not a storage key"):
            await storage.write_all([("/a/link", b"first"), ("/../b", b"second"), ("/c/link", b"third")])
        with pytest.raises(ObjectNotFoundError):
            await storage.read("/c/link")

    async def test_created_object_is_kept(self, storage):
        assert await storage.create("/a/b/object", b"first")
        assert not await storage.create("/a/b/object", b"second")
        assert await storage.read("/a/b/object") == b"first"
        assert await collect(storage.list_children("/a/b")) == ["object"]

    async def test_created_object_can_be_replaced_and_removed(self, storage):
        await storage.create("/object", b"first")
        await storage.write("/object", b"second")
        assert not await storage.create("/object", b"third")
        await storage.delete(["/object"])
        assert await storage.create("/object", b"fourth")
        assert await storage.read("/object") == b"fourth"

    async def test_one_of_many_creates_wins(self, storage, reopen):
        """Exactly one create succeeds: in one process on every store, across processes where the store supports it."""
        others = [await reopen() for _ in range(2)] if storage.creates_exclusively and self.SHARES_STORE else []
        creators = [storage, *others] * 6
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(creator.create("/a/tag/link", b"%d" % number))
                for number, creator in enumerate(creators)
            ]
        winners = [number for number, task in enumerate(tasks) if task.result()]
        assert len(winners) == 1
        assert await storage.read("/a/tag/link") == b"%d" % winners[0]

    @pytest.mark.parametrize("key", LEGAL_KEYS)
    async def test_legal_key_holds_object(self, storage, key):
        await storage.write(key, b"content")
        assert await storage.read(key) == b"content"
        assert [found async for found, _ in storage.walk("/")] == [key]
        assert await collect(storage.list_children("/")) == [key.split("/")[1]]

    @pytest.mark.parametrize("key", ILLEGAL_KEYS)
    async def test_illegal_key_is_refused(self, storage, key):
        await storage.write("/a/b", b"stays")
        with pytest.raises(ValueError, match="key"):
            await storage.read(key)
        with pytest.raises(ValueError, match="key"):
            await storage.write(key, b"")
        with pytest.raises(ValueError, match="key"):
            await storage.create(key, b"")
        with pytest.raises(ValueError, match="key"):
            await storage.stat(key)
        with pytest.raises(ValueError, match="key"):
            await storage.staged_size(key)
        with pytest.raises(ValueError, match="key"):
            async with storage.open_reader(key):
                pass
        with pytest.raises(ValueError, match="key"):
            async with storage.open_writer(key):
                pass
        with pytest.raises(ValueError, match="key"):
            await storage.move(key, "/target")
        with pytest.raises(ValueError, match="key"):
            await storage.move("/a/b", key)
        with pytest.raises(ValueError, match="key"):
            await storage.delete(["/a/b", key])
        assert await storage.read("/a/b") == b"stays"

    @pytest.mark.parametrize("key", [key for key in ILLEGAL_KEYS if key != "/"])
    async def test_illegal_prefix_is_refused(self, storage, key):
        await storage.write("/a/b", b"stays")
        for listing in (storage.list_children, lambda prefix: storage.list_marked(prefix, "_"), storage.walk):
            with pytest.raises(ValueError, match="key"):
                await collect(listing(key))
        with pytest.raises(ValueError, match="key"):
            await storage.delete_tree("/a/b", key)
        assert await storage.read("/a/b") == b"stays"

    async def test_commit_to_illegal_key_is_refused(self, storage):
        async with storage.open_writer("/staged") as writer:
            await writer.write(b"content")
            with pytest.raises(ValueError, match="key"):
                await writer.commit("/a/../b")
            await writer.commit("/target")
        assert await storage.read("/target") == b"content"

    async def test_missing_object_is_not_found(self, storage):
        await storage.write("/a/b", b"content")
        for key in ("/missing", "/a/missing", "/a", "/a/b/c", "/a/b/c/d"):
            with pytest.raises(ObjectNotFoundError) as caught:
                await storage.read(key)
            assert caught.value.key == key
            with pytest.raises(ObjectNotFoundError) as caught:
                await storage.stat(key)
            assert caught.value.key == key

    async def test_read_stops_at_limit(self, storage):
        await storage.write("/object", b"12345")
        assert await storage.read("/object", limit=5) == b"12345"
        with pytest.raises(ObjectTooLargeError) as caught:
            await storage.read("/object", limit=4)
        assert (caught.value.key, caught.value.size, caught.value.limit) == ("/object", 5, 4)

    async def test_read_has_a_default_limit(self, storage):
        await storage.write("/object", payload(4 * 1024 * 1024 + 1))
        with pytest.raises(ObjectTooLargeError):
            await storage.read("/object")

    async def test_last_write_wins(self, storage):
        await storage.write("/object", b"a much longer first content")
        await storage.write("/object", b"second")
        assert await storage.read("/object") == b"second"
        assert (await storage.stat("/object")).size == 6

    async def test_stat_returns_time_in_utc(self, storage):
        await storage.write("/first", b"1")
        await storage.write("/second", b"2")
        first, second = await storage.stat("/first"), await storage.stat("/second")
        assert first.modified_at.utcoffset() == timedelta(0)
        assert first.modified_at <= second.modified_at

    async def test_stat_returns_the_md5_if_known(self, storage):
        await storage.write("/object", b"content")
        expected = hashlib.md5(b"content", usedforsecurity=False).hexdigest() if self.TELLS_MD5 else None
        assert (await storage.stat("/object")).md5 == expected
        assert storage.tells_md5 == self.TELLS_MD5

    async def test_write_is_visible_to_other_instance(self, storage, reopen):
        other = await reopen()
        await storage.write("/a/object", b"1")
        assert await other.read("/a/object") == b"1"
        await other.write("/a/object", b"2")
        assert await storage.read("/a/object") == b"2"

    async def test_write_is_atomic_under_readers(self, storage):
        contents = [payload(70_000, seed) for seed in range(3)]
        await storage.write("/a/object", contents[0])
        done = asyncio.Event()
        seen = 0

        async def read() -> None:
            nonlocal seen
            while not done.is_set():
                assert await storage.read("/a/object") in contents
                seen += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read()) for _ in range(4)]
            for turn in range(30):
                await storage.write("/a/object", contents[turn % 3])
                await asyncio.sleep(0)
            done.set()
        assert all(reader.done() for reader in readers)
        assert seen > 0

    async def test_concurrent_writes_of_one_key_leave_one_complete_object(self, storage):
        contents = [payload(50_000, seed) for seed in range(16)]
        async with asyncio.TaskGroup() as tasks:
            for content in contents:
                tasks.create_task(storage.write("/new/folder/object", content))
        assert await storage.read("/new/folder/object") in contents

    async def test_concurrent_writes_of_many_keys_all_succeed(self, storage):
        keys = [f"/shared/{number % 4}/deep/{number}/link" for number in range(64)]
        async with asyncio.TaskGroup() as tasks:
            for key in keys:
                tasks.create_task(storage.write(key, key.encode()))
        async with asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(storage.read(key)) for key in keys * 2]
        assert [read.result() for read in reads] == [key.encode() for key in keys * 2]

    async def test_move_replaces_target(self, storage):
        await storage.write("/a/source", b"new")
        await storage.write("/b/target", b"old content")
        await storage.move("/a/source", "/b/target")
        assert await storage.read("/b/target") == b"new"
        with pytest.raises(ObjectNotFoundError):
            await storage.read("/a/source")

    async def test_move_goes_to_new_folder(self, storage):
        await storage.write("/a/source", b"content")
        await storage.move("/a/source", "/new/deep/folder/target")
        assert await storage.read("/new/deep/folder/target") == b"content"

    async def test_move_onto_itself_changes_nothing(self, storage):
        await storage.write("/a", b"content")
        await storage.move("/a", "/a")
        assert await storage.read("/a") == b"content"

    async def test_move_of_missing_object_fails(self, storage):
        await storage.write("/a/target", b"old")
        for source in ("/missing", "/a"):
            with pytest.raises(ObjectNotFoundError) as caught:
                await storage.move(source, "/a/target")
            assert caught.value.key == source
        assert await storage.read("/a/target") == b"old"

    async def test_redirect_url_is_returned_if_supported(self, storage):
        await storage.write("/object", b"content")
        url = await storage.redirect_url("/object", method="GET")
        assert (url is not None) is self.HAS_REDIRECTS

    async def test_store_with_free_space_passes_its_check(self, storage):
        await storage.check_space()

    async def test_free_space_of_a_disk_is_part_of_its_size(self, storage):
        space = await storage.space()
        assert space is None or 0 < space.free <= space.total

    async def test_check_passes(self, storage):
        await storage.check()

    async def test_driver_has_name(self, storage):
        assert storage.name.isidentifier()
