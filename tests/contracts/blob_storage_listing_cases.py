"""Listing below a prefix: `list_children`, `list_marked`, `walk`, `walk_within`."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest

from tests.support.streams import collect

# `-` and `.` sort before `/`, digits and letters after it: the order within a folder differs from that of whole paths.
TRICKY_NAMES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "ab", "b"]

WRITES_AT_ONCE = 100

AFTERS = [
    "", "!", "-", "0", "A", "a", "a!", "a-", "a-a", "a-b", "a-b/c", "a.", "a.b", "a.c", "a/", "a/a", "a/b",
    "a/b-", "a/b/", "a/b/b", "a/b/c", "a/b/d", "a/c", "a0", "a1", "aa", "ab", "ab/x", "b", "b/x", "c", "~",
    "é", "../a", "a//b", "a/../b", "/", "/a",
]  # fmt: skip


async def mark(storage, prefix: str, *names: str) -> None:
    # In batches: the time that a request waits for a pooled connection counts as time of the request.
    for start in range(0, len(names), WRITES_AT_ONCE):
        async with asyncio.TaskGroup() as tasks:
            for name in names[start : start + WRITES_AT_ONCE]:
                tasks.create_task(storage.write(f"{prefix}/{name}/_layers/sha256/00/link", b"link"))


class ListingCases:
    MANY: int
    LISTS_READABLE_ONLY: bool
    PASSES_OVER: bool

    async def test_children_are_sorted_and_direct(self, storage):
        for name in ("b", "a/x/y", "a/z", "a-b", "a.b", "a0", "A", "_x/1", "ab/c"):
            await storage.write(f"/p/{name}", b"")
        await storage.write("/pq/other", b"")
        await storage.write("/o", b"")
        expected = ["A", "_x", "a", "a-b", "a.b", "a0", "ab", "b"]
        assert await collect(storage.list_children("/p")) == expected
        assert await collect(storage.list_children("/p/a")) == ["x", "z"]
        assert await collect(storage.list_children("/")) == ["o", "p", "pq"]

    @pytest.mark.parametrize("after", ["", "!", "A", "a", "a-", "a-b", "a/", "a0", "b", "c", "../x", "é"])
    async def test_children_begin_after_a_name(self, storage, after):
        names = ["A", "_x", "a", "a-b", "a.b", "a0", "ab", "b"]
        for name in names:
            await storage.write(f"/p/{name}/x", b"")
        assert await collect(storage.list_children("/p", after=after)) == [name for name in names if name > after]

    async def test_missing_prefix_has_no_children(self, storage):
        await storage.write("/a/b", b"")
        for prefix in ("/missing", "/a/b", "/a/b/c", "/a/missing"):
            assert await collect(storage.list_children(prefix)) == []
            assert await collect(storage.list_marked(prefix, "_")) == []
            assert await collect(storage.walk(prefix)) == []

    async def test_marked_skips_paths_that_hold_one_child_only(self, storage):
        for key in (
            "a/_x/1",
            "a/_x/2",
            "a/b/_x/1",
            "a/b/_y/1",
            "a/c/_w/1",
            "a/c/_x/1",
            "d/_xx/1",
            "e/_x/1",
            "e/f/_y/1",
        ):
            await storage.write(f"/p/{key}", b"")
        everything = ["a", "a/b", "a/c", "d", "e", "e/f"]
        assert await collect(storage.list_marked("/p", "_")) == everything
        passed = await collect(storage.list_marked("/p", "_", passing_over="_x"))
        assert passed == (["a/b", "a/c", "d", "e/f"] if self.PASSES_OVER else everything)
        await storage.write("/p/a/_y/1", b"")
        assert "a" in await collect(storage.list_marked("/p", "_", passing_over="_x"))

    async def test_mark_is_any_character(self, storage):
        for key in ("a/-x/1", "a/b/-y/-z/1", "a/_c/-x/1", "-d/-x/1", "e/_x/1"):
            await storage.write(f"/p/{key}", b"")
        assert await collect(storage.list_marked("/p", "-")) == ["a", "a/_c", "a/b"]
        assert await collect(storage.list_marked("/p", "_")) == ["a", "e"]
        assert [key async for key, _ in storage.walk_within("/p", "-y")] == ["/p/a/b/-y/-z/1"]

    async def test_empty_store_lists_nothing(self, storage):
        assert await collect(storage.list_children("/")) == []
        assert await collect(storage.list_marked("/", "_")) == []
        assert await collect(storage.walk("/")) == []

    @pytest.mark.parametrize("name", ["@eaDir", "lost+found", "#recycle", "a b", "\u00e9", "_layers@SynoEAStream"])
    async def test_names_that_are_no_keys_are_skipped(self, storage, plant, name):
        """A listing that yielded them would lead its caller to a key that all other methods reject."""
        await mark(storage, "/p", "a", "b/c")
        for folder in ("/p", "/p/a", "/p/a/_layers", "/p/b/c/_layers/sha256"):
            await plant(f"{folder}/{name}/_layers/x/link")
            await plant(f"{folder}/x.{name}")
        keys = ["/p/a/_layers/sha256/00/link", "/p/b/c/_layers/sha256/00/link"]
        assert await collect(storage.list_children("/p")) == ["a", "b"]
        assert await collect(storage.list_children("/p/a")) == ["_layers"]
        assert await collect(storage.list_marked("/p", "_")) == ["a", "b/c"]
        assert sorted([key async for key, _ in storage.walk("/p")]) == keys
        assert sorted([key async for key, _ in storage.walk_within("/p", "_layers")]) == keys

    async def test_listing_may_be_left_early(self, storage):
        await mark(storage, "/p", *TRICKY_NAMES)
        async with aclosing(storage.list_children("/p")) as children:
            assert await anext(children) == "a"
        async with aclosing(storage.list_marked("/p", "_")) as marked:
            assert await anext(marked) == "a"
        async with aclosing(storage.walk("/p")) as objects:
            assert (await anext(objects))[0].startswith("/p/")

    async def test_marked_paths_sort_as_whole_strings(self, storage):
        await mark(storage, "/p", *reversed(TRICKY_NAMES))
        assert await collect(storage.list_marked("/p", "_")) == TRICKY_NAMES
        assert await collect(storage.list_marked("/", "_")) == [f"p/{name}" for name in TRICKY_NAMES]

    async def test_marked_paths_begin_after_a_path(self, storage):
        await mark(storage, "/p", *TRICKY_NAMES)
        found = {after: await collect(storage.list_marked("/p", "_", after=after)) for after in AFTERS}
        assert found == {after: [name for name in TRICKY_NAMES if name > after] for after in AFTERS}

    async def test_marked_paths_come_in_pages(self, storage):
        await mark(storage, "/p", *TRICKY_NAMES)
        for size in (1, 2, 3):
            pages: list[str] = []
            after = ""
            while True:
                async with aclosing(storage.list_marked("/p", "_", after=after)) as marked:
                    page = []
                    async for path in marked:
                        page.append(path)
                        if len(page) == size:
                            break
                if not page:
                    break
                pages += page
                after = page[-1]
            assert pages == TRICKY_NAMES

    async def test_deep_paths_sort_as_whole_strings(self, storage):
        names = [
            "a/b",
            "a/b-c/d",
            "a/b.c",
            "a/b/c/d/e",
            "a-x/y",
            "a.x/y/z",
            "a0/1",
            "a_b/c",
            "a__b",
            "0",
            "z-/z",
        ]
        await mark(storage, "/p", *names)
        assert await collect(storage.list_marked("/p", "_")) == sorted(names)
        for after in sorted(names):
            assert await collect(storage.list_marked("/p", "_", after=after)) == [
                name for name in sorted(names) if name > after
            ]

    async def test_marked_path_is_named_once(self, storage):
        for child in ("_layers/x", "_manifests/y", "_uploads/z/data", "_file"):
            await storage.write(f"/p/a/{child}", b"")
        assert await collect(storage.list_marked("/p", "_")) == ["a"]

    async def test_paths_below_marks_are_not_listed(self, storage):
        await storage.write("/p/a/_layers/deep/_uploads/x", b"")
        await storage.write("/p/_own/b/_layers/x", b"")
        await storage.write("/p/b/c/x", b"")
        await storage.write("/p/c/d_/x_/object", b"")
        await storage.write("/p/d/__/object", b"")
        assert await collect(storage.list_marked("/p", "_")) == ["a", "d"]

    async def test_marked_stays_below_prefix(self, storage):
        await mark(storage, "/p", "a")
        await mark(storage, "/pq", "b")
        await mark(storage, "/p-q", "c")
        assert await collect(storage.list_marked("/p", "_")) == ["a"]

    async def test_walk_within_yields_objects_of_such_directories(self, storage):
        inside = [f"/p/{name}/_uploads/{child}" for name in TRICKY_NAMES for child in ("1/data", "1/startedat", "2")]
        outside = [f"/p/{name}/_layers/sha256/00/link" for name in TRICKY_NAMES]
        outside += [
            "/p/a/_uploads-old/x", "/p/a/_u/x", "/p/a/_zoo/x", "/p/a/_layers/deep/_uploads/x", "/p/_own/b/_uploads/x",
            "/p/_uploads/x", "/p/uploads/x", "/p/c/_uploads", "/pq/a/_uploads/x", "/o/a/_uploads/x",
        ]  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            for key in inside + outside:
                tasks.create_task(storage.write(key, key.encode()))
        found = await collect(storage.walk_within("/p", "_uploads"))
        assert sorted(key for key, _ in found) == sorted(inside)
        assert all(stat.size == len(key) for key, stat in found)
        children = [key.split("/_uploads/")[0] + key.split("/_uploads/")[1][0] for key, _ in found]
        assert sum(first != second for first, second in pairwise(children)) == 15
        assert await collect(storage.walk_within("/missing", "_uploads")) == []

    async def test_walk_yields_every_object_once(self, storage):
        keys = ["/p/a", "/p/b/c", "/p/b/d/e", "/p/_x/y", "/p/b-c", "/p/b.c/d"]
        for key in keys:
            await storage.write(key, key.encode())
        for key in ("/pq/x", "/p-/x", "/o"):
            await storage.write(key, b"elsewhere")
        found = await collect(storage.walk("/p"))
        assert sorted(key for key, _ in found) == sorted(keys)
        assert {key: stat.size for key, stat in found} == {key: len(key) for key in keys}
        assert {key: stat.modified_at for key, stat in found} == {
            key: (await storage.stat(key)).modified_at for key in keys
        }
        assert len(await collect(storage.walk("/"))) == len(keys) + 3

    async def test_walk_survives_concurrent_deletion(self, storage):
        for number in range(30):
            await storage.write(f"/p/{number}/object", b"")
        seen = 0
        async for key, _ in storage.walk("/p"):
            seen += 1
            await storage.delete_tree(key.rpartition("/")[0])
        assert seen == 30

    async def test_many_entries_are_all_listed(self, storage):
        names = sorted(f"n{number}" for number in range(self.MANY))
        await mark(storage, "/p", *names)
        assert await collect(storage.list_children("/p")) == names
        assert await collect(storage.list_children("/p", after=names[-3])) == names[-2:]
        pages = await collect(storage.list_child_pages("/p", after=names[0]))
        assert [name for page in pages for name in page] == names[1:]
        assert await collect(storage.list_marked("/p", "_")) == names
        assert await collect(storage.list_marked("/p", "_", after=names[-3])) == names[-2:]
        keys = sorted([key async for key, _ in storage.walk("/p")])
        assert keys == [f"/p/{name}/_layers/sha256/00/link" for name in names]
        await storage.delete(keys[:-1])
        assert [key async for key, _ in storage.walk("/p")] == keys[-1:]

    async def test_listing_runs_during_writes(self, storage):
        """Concurrent writers neither break a listing nor make it show a name whose content is missing."""
        done = asyncio.Event()

        async def look() -> None:
            while not done.is_set():
                names = await collect(storage.list_children("/p"))
                for name in names if self.LISTS_READABLE_ONLY else ():
                    assert await storage.read(f"/p/{name}/current/link") == name.encode()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(look())
            for number in range(40):
                await storage.write(f"/p/{number}/current/link", str(number).encode())
            done.set()
