"""Removal: `delete` removes exactly the given keys, `delete_tree` exactly the given subtrees."""

import asyncio
from datetime import timedelta

import pytest

from core.errors import ObjectNotFoundError
from tests.support.streams import collect, read_stream, stage


async def keys(storage) -> list[str]:
    return sorted([key async for key, _ in storage.walk("/")])


async def _store_time(storage):
    await storage.write("/time", b"")
    return (await storage.stat("/time")).modified_at


class DeletionCases:
    async def test_delete_removes_exactly_these_keys(self, storage):
        for key in ("/p/a", "/p/ab", "/p/a.b", "/p/c/a", "/p/c/b", "/q/a"):
            await storage.write(key, b"")
        await storage.delete(["/p/a", "/p/c/b"])
        assert await keys(storage) == ["/p/a.b", "/p/ab", "/p/c/a", "/q/a"]

    async def test_delete_is_idempotent(self, storage):
        await storage.write("/p/a", b"")
        await storage.write("/p/b", b"")
        await storage.delete(["/p/a", "/missing", "/p/missing", "/p/a/below"])
        await storage.delete(["/p/a", "/p/a"])
        await storage.delete([])
        assert await keys(storage) == ["/p/b"]

    async def test_delete_of_prefix_removes_nothing(self, storage):
        await storage.write("/p/a/b", b"")
        await storage.delete(["/p/a", "/p"])
        assert await keys(storage) == ["/p/a/b"]

    async def test_deleted_key_can_be_written_again(self, storage):
        await storage.write("/p/a/link", b"1")
        await storage.delete(["/p/a/link"])
        await storage.write("/p/a/link", b"2")
        assert await storage.read("/p/a/link") == b"2"
        await storage.delete_tree("/p/a")
        await storage.write("/p/a/link", b"3")
        assert await storage.read("/p/a/link") == b"3"

    async def test_young_or_spared_uploads_are_not_dropped(self, storage):
        """Young or spared uploads stay. Listings show small writes, so `drop_unfinished` does not handle those."""
        now = await _store_time(storage)
        await stage(storage, "/r/_uploads/u/data", b"staged")
        await storage.drop_unfinished("/r", before=now - timedelta(hours=1), is_spared=lambda _key: False)
        await storage.drop_unfinished("/r", before=now + timedelta(hours=1), is_spared=lambda _key: True)
        assert await storage.staged_size("/r/_uploads/u/data") == 6
        missing = await storage.drop_unfinished("/missing", before=now, is_spared=lambda _key: False)
        assert list(missing) == []

    async def test_records_are_stored_and_their_items_removed(self, storage):
        for key in ("/t/a/link", "/t/a/index/link", "/t/ab/link", "/l/a/link", "/l/b/link"):
            await storage.write(key, b"")
        for _ in range(2):
            await storage.write_then_remove(
                [("/e/1", b"first"), ("/e/2", b"second")], trees=["/t/a", "/t/missing"], keys=["/l/a/link"]
            )
            assert await keys(storage) == ["/e/1", "/e/2", "/l/b/link", "/t/ab/link"]
        assert [await storage.read(f"/e/{number}") for number in (1, 2)] == [b"first", b"second"]

    async def test_record_or_removal_may_be_missing(self, storage):
        await storage.write("/t/a/link", b"")
        await storage.write_then_remove([])
        await storage.write_then_remove([("/e/1", b"")])
        assert await keys(storage) == ["/e/1", "/t/a/link"]
        await storage.write_then_remove([], trees=["/t/a"])
        await storage.write_then_remove([], keys=["/e/1"])
        assert await keys(storage) == []

    async def test_items_without_their_record_stay(self, storage):
        await storage.write("/t/a/link", b"")
        await storage.write("/l/a/link", b"")
        with pytest.raises(ValueError, match="not a storage key"):
            await storage.write_then_remove([("/../e", b"")], trees=["/t/a"], keys=["/l/a/link"])
        assert await keys(storage) == ["/l/a/link", "/t/a/link"]

    async def test_delete_tree_removes_subtree_alone(self, storage):
        for key in ("/p/a/1", "/p/a/b/2", "/p/a/_x/3", "/p/ab/4", "/p/a-b/5", "/p/a.b", "/p/A/6", "/q/a/7"):
            await storage.write(key, b"")
        await storage.delete_tree("/p/a")
        assert await keys(storage) == ["/p/A/6", "/p/a-b/5", "/p/a.b", "/p/ab/4", "/q/a/7"]
        assert await collect(storage.list_children("/p")) == ["A", "a-b", "a.b", "ab"]

    async def test_cleared_trees_are_gone(self, storage):
        for key in ("/r/_uploads/1/startedat", "/r/_uploads/10/startedat", "/s/_uploads/2/startedat", "/s/link"):
            await storage.write(key, b"")
        await stage(storage, "/r/_uploads/1/data", b"staged")
        for _ in range(2):
            await storage.clear("/r/_uploads/1", "/s/_uploads/2", "/missing/_uploads/3")
            assert await keys(storage) == ["/r/_uploads/10/startedat", "/s/link"]
        assert await storage.staged_size("/r/_uploads/1/data") == 0
        await storage.clear()

    async def test_delete_tree_spares_similar_tags(self, storage):
        tags = ["1", "1-rc", "1.2", "10", "1_", "2"]
        for tag in tags:
            await storage.write(f"/r/_manifests/tags/{tag}/current/link", b"x")
            await storage.write(f"/r/_manifests/tags/{tag}/index/sha256/00/link", b"x")
        await storage.delete_tree("/r/_manifests/tags/1")
        assert await collect(storage.list_children("/r/_manifests/tags")) == tags[1:]
        for tag in tags[1:]:
            assert await storage.read(f"/r/_manifests/tags/{tag}/current/link") == b"x"

    async def test_delete_tree_removes_several_prefixes(self, storage):
        for key in ("/p/a/1", "/p/a/_x/2", "/p/ab/3", "/p/b", "/p/b-c/4", "/q/a/5", "/q/c/6"):
            await storage.write(key, b"")
        await stage(storage, "/q/a/data", b"abc")
        await storage.delete_tree("/p/a", "/p/b", "/p/missing", "/q/a", "/p/a/_x", "/p/a")
        assert await keys(storage) == ["/p/ab/3", "/p/b-c/4", "/q/c/6"]
        assert await stage(storage, "/q/a/data", resume=True) == 0

    async def test_delete_tree_of_nothing_removes_nothing(self, storage):
        await storage.write("/p/a", b"")
        await storage.delete_tree()
        assert await keys(storage) == ["/p/a"]

    async def test_delete_tree_is_idempotent(self, storage):
        await storage.write("/p/a/b", b"")
        await storage.write("/q", b"")
        for prefix in ("/p/a", "/p/a", "/missing", "/p/missing/deep", "/q/below"):
            await storage.delete_tree(prefix)
        assert await keys(storage) == ["/q"]

    async def test_delete_tree_removes_the_object_itself(self, storage):
        await storage.write("/p/a", b"")
        await storage.write("/p/ab", b"")
        await storage.delete_tree("/p/a")
        assert await keys(storage) == ["/p/ab"]
        with pytest.raises(ObjectNotFoundError):
            await storage.stat("/p/a")

    async def test_delete_tree_removes_staged_bytes(self, storage):
        await storage.write("/r/_uploads/1/startedat", b"now")
        for upload in ("1", "10"):
            await stage(storage, f"/r/_uploads/{upload}/data", b"abc")
        await storage.delete_tree("/r/_uploads/1")
        assert await stage(storage, "/r/_uploads/1/data", resume=True) == 0
        assert await stage(storage, "/r/_uploads/10/data", resume=True) == 3

    async def test_delete_tree_removes_large_staged_bytes(self, storage):
        await stage(storage, "/r/_uploads/1/data", bytes(6 * 1024 * 1024))
        await storage.delete_tree("/r")
        assert await stage(storage, "/r/_uploads/1/data", resume=True) == 0

    async def test_delete_tree_at_staged_key(self, storage):
        await stage(storage, "/r/_uploads/1/data", b"abc")
        await storage.delete_tree("/r/_uploads/1/data")
        assert await stage(storage, "/r/_uploads/1/data", resume=True) == 0

    async def test_delete_tree_of_root_empties_store(self, storage):
        for key in ("/a", "/b/c", "/_d/e/f"):
            await storage.write(key, b"")
        await stage(storage, "/u/data", b"abc")
        await storage.delete_tree("/")
        assert await keys(storage) == []
        assert await collect(storage.list_children("/")) == []
        assert await stage(storage, "/u/data", resume=True) == 0

    async def test_concurrent_deletes_of_one_tree_succeed(self, storage):
        for number in range(20):
            await storage.write(f"/p/a/{number}/link", b"")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(storage.delete_tree("/p/a"))
            for number in range(20):
                tasks.create_task(storage.delete([f"/p/a/{number}/link"]))
        assert await keys(storage) == []

    async def test_writes_during_deletes_are_kept(self, storage):
        """A write into a tree that is being deleted never fails; afterwards its object is complete or absent."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(30):
                tasks.create_task(storage.write(f"/p/a/{number}/link", b"content"))
                if number % 3 == 0:
                    tasks.create_task(storage.delete_tree("/p/a"))
            tasks.create_task(storage.write("/p/b/link", b"content"))
        for key in await keys(storage):
            assert await read_stream(storage, key) == b"content"
        assert "/p/b/link" in await keys(storage)

    async def test_prune_removes_no_object(self, storage):
        for key in ("/p/a/b/c", "/p/x/y", "/q"):
            await storage.write(key, b"")
        await storage.delete(["/p/a/b/c"])
        await storage.prune(["/p/a/b", "/p/x", "/p/missing", "/q"], below="/p")
        assert await keys(storage) == ["/p/x/y", "/q"]
        await storage.write("/p/a/b/c", b"again")
        assert await storage.read("/p/a/b/c") == b"again"
        await storage.prune([], below="/p")
