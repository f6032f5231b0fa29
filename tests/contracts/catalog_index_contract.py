"""Contract of `CatalogIndex`, run on every adapter.

There are three classes, each a superset of the previous one: for every index, for an index that stores its own set (not
derived from storage), and for an index whose set is shared by several processes. `catalog_index_loss_contract` has a
fourth. The test class of an adapter inherits from the largest class that applies and defines the fixtures.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from core.model.names import RepositoryName
from core.ports.catalog_index import CatalogIndex

TRICKY = ("a", "a--b", "a-b", "a-b/c", "a.b", "a/b", "a/b-c", "a/b_c", "a/bc", "a0", "a_b", "a__b", "ab", "b")
"""Every character allowed in a name, at positions where collations and tree walks sort it differently."""

BOUNDS = (
    "",
    "-",
    "A",
    "Z/z",
    "a",
    "a ",
    "a-",
    "a/",
    "a/b_",
    "a_",
    "a_b\x00",
    "a`",
    "aa",
    "a~",
    "a\x7f",
    "aé",
    "a\U0001f600",
    "b\udcff",
    "zzz",
    "%",
    "'; DROP TABLE repositories; --",
    "\\",
    "a" * 255,
    "a" * 5000,
)
"""Values that a client may send as `last`: legal, illegal and hostile."""


def as_names(texts: Iterable[str]) -> list[RepositoryName]:
    return [RepositoryName(text) for text in texts]


async def stream(texts: Iterable[str], *, pause: bool = False) -> AsyncIterator[RepositoryName]:
    for text in texts:
        if pause:
            await asyncio.sleep(0.001)
        yield RepositoryName(text)


async def all_names(index: CatalogIndex, *, limit: int = 1000) -> list[str]:
    """Return all names by following the pages, as a client does."""
    found: list[str] = []
    after, has_more = "", True
    while has_more:
        page = await index.page(after=after, limit=limit)
        assert len(page.items) <= limit
        assert page.items or not page.has_more, "an empty page that promises more never ends"
        found += page.items
        after, has_more = (page.items[-1] if page.items else after), page.has_more
    return found


class CatalogIndexContract:
    """Contract of every index."""

    MANY = 10_000
    """Number of names in the largest test."""

    @pytest.fixture
    def index(self) -> CatalogIndex:
        """Return an open, empty index."""
        raise NotImplementedError

    async def put(self, index: CatalogIndex, texts: Iterable[str]) -> None:
        """Add names as a push does; for a derived index, fill the storage first."""
        for name in as_names(texts):
            await index.add(name)

    async def take(self, index: CatalogIndex, text: str) -> None:
        """Remove a name as the deletion of a repository does."""
        await index.remove(RepositoryName(text))

    async def test_empty_index_has_empty_page(self, index):
        page = await index.page(after="", limit=10)
        assert (list(page.items), page.has_more) == ([], False)

    async def test_name_is_paged_after_add(self, index):
        await self.put(index, ["library/redis"])
        assert await all_names(index) == ["library/redis"]

    async def test_items_are_repository_names(self, index):
        await self.put(index, ["a/b"])
        page = await index.page(after="", limit=1)
        assert [type(item) for item in page.items] == [RepositoryName]

    async def test_adding_twice_lists_once(self, index):
        await self.put(index, ["a", "a/b", "a"])
        await self.put(index, ["a/b"])
        assert await all_names(index) == ["a", "a/b"]

    async def test_removing_a_name_keeps_the_others(self, index):
        await self.put(index, TRICKY)
        await self.take(index, "a/b")
        assert await all_names(index) == sorted(set(TRICKY) - {"a/b"})

    async def test_removing_an_absent_name_succeeds(self, index):
        await self.put(index, ["a", "b"])
        await self.take(index, "a")
        await self.take(index, "a")
        await self.take(index, "never/there")
        assert await all_names(index) == ["b"]

    async def test_removed_name_can_be_added_again(self, index):
        await self.put(index, ["a"])
        await self.take(index, "a")
        await self.put(index, ["a"])
        assert await all_names(index) == ["a"]

    async def test_order_is_by_code_point(self, index):
        await self.put(index, reversed(TRICKY))
        assert await all_names(index) == sorted(TRICKY)

    @pytest.mark.parametrize("limit", range(1, len(TRICKY) + 2))
    async def test_pages_of_any_size_join_to_the_set(self, index, limit):
        await self.put(index, TRICKY)
        assert await all_names(index, limit=limit) == sorted(TRICKY)

    @pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{len(bound)}-{bound[:12]!a}")
    async def test_page_begins_strictly_after_any_text(self, index, bound):
        await self.put(index, TRICKY)
        page = await index.page(after=bound, limit=100)
        assert list(page.items) == [name for name in sorted(TRICKY) if name > bound]
        assert not page.has_more

    async def test_page_begins_strictly_after_each_name(self, index):
        await self.put(index, TRICKY)
        for position, name in enumerate(sorted(TRICKY)):
            page = await index.page(after=name, limit=2)
            assert list(page.items) == sorted(TRICKY)[position + 1 : position + 3]

    @pytest.mark.parametrize(("limit", "has_more"), [(1, True), (5, True), (6, False), (7, False)])
    async def test_has_more_is_exact(self, index, limit, has_more):
        await self.put(index, ["a", "b", "c", "d", "e", "f"])
        page = await index.page(after="", limit=limit)
        assert (len(page.items), page.has_more) == (min(limit, 6), has_more)

    async def test_full_last_page_has_no_more(self, index):
        await self.put(index, ["a", "b", "c", "d"])
        page = await index.page(after="b", limit=2)
        assert (list(page.items), page.has_more) == (["c", "d"], False)

    async def test_limit_zero_is_an_empty_page(self, index):
        await self.put(index, ["a", "b"])
        page = await index.page(after="", limit=0)
        assert (list(page.items), page.has_more) == ([], False)

    async def test_longest_name_fits(self, index):
        longest = ["x" * 255, "a/" * 127 + "a", "x" * 254 + "y"]
        await self.put(index, longest)
        assert await all_names(index) == sorted(longest)

    async def test_concurrent_adds_list_each_name_once(self, index):
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(self.put(index, TRICKY))
        assert await all_names(index) == sorted(TRICKY)

    async def test_many_names_are_paged_in_order(self, index):
        many = [f"team-{number % 97}/app_{number}" for number in range(self.MANY)]
        await self.fill(index, many)
        assert await all_names(index) == sorted(many)

    async def fill(self, index: CatalogIndex, texts: Sequence[str]) -> None:
        """Add many names by the fastest method of the adapter."""
        await self.put(index, texts)

    async def test_check_of_a_working_index_passes(self, index):
        assert await index.check() is None

    async def test_index_has_a_name(self, index):
        assert index.name
        assert index.name == index.name.lower()


class StoredCatalogIndexContract(CatalogIndexContract):
    """Contract of an index that stores its own set, which can be rebuilt."""

    OLD = tuple(f"old/{number:03}" for number in range(150))
    NEW = tuple(f"new/{number:03}" for number in range(220))

    async def fill(self, index: CatalogIndex, texts: Sequence[str]) -> None:
        await index.replace_all(stream(texts))

    async def test_index_is_not_derived(self, index):
        assert index.is_derived is False

    async def test_replace_all_sets_exactly_these_names(self, index):
        await self.put(index, ["gone", "kept/a_b"])
        await index.replace_all(stream(["z", "kept/a_b", "a", "z", "a"]))
        assert await all_names(index) == ["a", "kept/a_b", "z"]

    async def test_replace_all_by_nothing_empties(self, index):
        await self.put(index, TRICKY)
        await index.replace_all(stream([]))
        assert await all_names(index) == []

    async def test_replace_all_twice_changes_nothing(self, index):
        await index.replace_all(stream(TRICKY))
        await index.replace_all(stream(TRICKY))
        assert await all_names(index) == sorted(TRICKY)

    async def test_add_returns_whether_the_name_was_new(self, index):
        assert await index.add(RepositoryName("a/b")) is True
        assert await index.add(RepositoryName("a/b")) is False
        await self.take(index, "a/b")
        assert await index.add(RepositoryName("a/b")) is True
        await index.replace_all(stream(["a/b"]))
        assert await index.add(RepositoryName("a/b")) is False

    async def test_names_can_change_after_replace_all(self, index):
        await index.replace_all(stream(["b", "d"]))
        await self.put(index, ["c", "b"])
        await self.take(index, "d")
        assert await all_names(index) == ["b", "c"]

    async def test_failing_source_keeps_the_old_set(self, index):
        async def break_off() -> AsyncIterator[RepositoryName]:
            async for name in stream(self.NEW):
                yield name
            raise OSError("the listing broke")

        await index.replace_all(stream(self.OLD))
        with pytest.raises(OSError, match="the listing broke"):
            await index.replace_all(break_off())
        assert await all_names(index) == list(self.OLD)

    async def test_cancelled_replace_all_keeps_the_old_set(self, index):
        started = asyncio.Event()

        async def hang() -> AsyncIterator[RepositoryName]:
            yield RepositoryName("new")
            started.set()
            await asyncio.Event().wait()

        await index.replace_all(stream(self.OLD))
        task = asyncio.create_task(index.replace_all(hang()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await all_names(index) == list(self.OLD)
        await self.put(index, ["z"])
        assert await all_names(index) == [*self.OLD, "z"]

    async def test_name_added_during_replace_all_is_kept(self, index):
        async def push_meanwhile() -> AsyncIterator[RepositoryName]:
            yield RepositoryName("scanned/first")
            await self.put(index, ["pushed/new"])
            yield RepositoryName("scanned/last")

        await self.put(index, ["ghost"])
        await index.replace_all(push_meanwhile())
        assert await all_names(index) == ["pushed/new", "scanned/first", "scanned/last"]

    async def test_name_removed_during_replace_all_stays_out(self, index):
        async def delete_meanwhile() -> AsyncIterator[RepositoryName]:
            yield RepositoryName("deleted/new")
            yield RepositoryName("deleted/old")
            await self.take(index, "deleted/new")
            await self.take(index, "deleted/old")
            yield RepositoryName("kept")

        await self.put(index, ["deleted/old"])
        await index.replace_all(delete_meanwhile())
        assert await all_names(index) == ["kept"]

    async def test_reader_never_sees_a_partial_set(self, index):
        await index.replace_all(stream(self.OLD))
        await self.watch_replacement(index, reader=index)

    async def watch_replacement(self, index: CatalogIndex, *, reader: CatalogIndex) -> None:
        task = asyncio.create_task(index.replace_all(stream(self.NEW, pause=True)))
        seen = set()
        while not task.done():
            page = await reader.page(after="", limit=1000)
            seen.add(tuple(page.items))
            await asyncio.sleep(0)
        await task
        assert seen <= {self.OLD, self.NEW}
        assert await all_names(reader) == list(self.NEW)

    async def test_two_replace_all_at_once_agree(self, index):
        await index.replace_all(stream(self.OLD))
        async with asyncio.TaskGroup() as group:
            group.create_task(index.replace_all(stream(self.NEW, pause=True)))
            group.create_task(index.replace_all(stream(reversed(self.NEW), pause=True)))
        assert await all_names(index) == list(self.NEW)


class SharedCatalogIndexContract(StoredCatalogIndexContract):
    """Contract of an index whose set several processes share; two instances stand for two processes."""

    @pytest.fixture
    def second(self, index: CatalogIndex) -> CatalogIndex:
        """Return another open instance on the set of `index`."""
        raise NotImplementedError

    async def test_change_by_one_instance_is_visible_to_the_other(self, index, second):
        await self.put(index, ["a", "b"])
        assert await all_names(second) == ["a", "b"]
        await self.take(second, "a")
        assert await all_names(index) == ["b"]

    async def test_concurrent_adds_by_both_list_each_name_once(self, index, second):
        async with asyncio.TaskGroup() as group:
            for each in (index, second, index, second):
                group.create_task(self.put(each, TRICKY))
        assert await all_names(index) == sorted(TRICKY)
        assert await all_names(second) == sorted(TRICKY)

    async def test_other_reader_never_sees_a_partial_set(self, index, second):
        await index.replace_all(stream(self.OLD))
        await self.watch_replacement(index, reader=second)

    async def test_name_added_by_the_other_during_replace_all_is_kept(self, index, second):
        async def push_meanwhile() -> AsyncIterator[RepositoryName]:
            yield RepositoryName("scanned")
            await self.put(second, ["pushed"])

        await index.replace_all(push_meanwhile())
        assert await all_names(index) == ["pushed", "scanned"]
        assert await all_names(second) == ["pushed", "scanned"]

    async def test_both_replace_all_at_once_agree(self, index, second):
        await index.replace_all(stream(self.OLD))
        async with asyncio.TaskGroup() as group:
            group.create_task(index.replace_all(stream(self.NEW, pause=True)))
            group.create_task(second.replace_all(stream(self.NEW)))
        assert await all_names(index) == list(self.NEW)
        assert await all_names(second) == list(self.NEW)
