"""Contract of a `CatalogIndex` whose set is shared by several processes, and can be lost as a whole."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.errors import CatalogLostError
from core.model.names import RepositoryName
from core.ports.catalog_index import CatalogIndex
from tests.contracts.catalog_index_contract import SharedCatalogIndexContract, all_names, stream


class LosableCatalogIndexContract(SharedCatalogIndexContract):
    """A lost set is never found empty or incomplete: it is lost, in every process, until it is replaced."""

    APPEARS_AT_ONCE = True
    """Whether a set that was lost appears with all names; otherwise it may be empty for a moment."""

    def lose(self) -> None:
        """Remove the whole set, as another program does."""
        raise NotImplementedError

    async def assert_lost(self, index: CatalogIndex) -> None:
        name = RepositoryName("pushed/meanwhile")
        for call in (index.page(after="", limit=1), index.add(name), index.remove(name), index.check()):
            with pytest.raises(CatalogLostError):
                await call

    async def test_lost_set_is_not_created_by_anything_but_its_replacement(self, index, second):
        await index.replace_all(stream(self.OLD))
        assert await all_names(second) == list(self.OLD)
        self.lose()
        for each in (index, second, index):
            await self.assert_lost(each)
        await index.replace_all(stream(self.NEW))
        for each in (index, second):
            await each.check()
            assert await all_names(each) == list(self.NEW)
        await self.put(second, ["z"])
        await self.take(index, self.NEW[0])
        assert await all_names(index) == [*self.NEW[1:], "z"]

    async def test_lost_set_is_replaced_by_nothing(self, index, second):
        self.lose()
        await index.replace_all(stream([]))
        assert await all_names(second) == []

    @pytest.mark.parametrize("has_noticed", [True, False])
    async def test_others_see_a_lost_set_only_when_it_is_complete(self, index, second, has_noticed):
        """Whether they noticed the loss before or not."""
        await index.replace_all(stream(self.OLD))
        assert await all_names(second) == list(self.OLD)
        self.lose()
        if has_noticed:
            await self.assert_lost(second)
        task = asyncio.create_task(index.replace_all(stream(self.NEW, pause=True)))
        seen: set[tuple[str, ...] | None] = set()
        while not task.done():
            try:
                seen.add(tuple((await second.page(after="", limit=1000)).items))
            except CatalogLostError:
                seen.add(None)
            await asyncio.sleep(0)
        await task
        assert None in seen
        assert seen <= {None, self.NEW} | (set() if self.APPEARS_AT_ONCE else {()})
        assert await all_names(second) == list(self.NEW)

    async def test_name_that_another_adds_to_a_lost_set_is_refused_or_kept(self, index, second):
        self.lose()
        task = asyncio.create_task(index.replace_all(stream(self.NEW, pause=True)))
        kept, refused, number = [], 0, 0
        while not task.done():
            name = RepositoryName(f"pushed/{number:05}")
            try:
                await second.add(name)
                kept.append(name)
            except CatalogLostError:
                refused += 1
            number += 1
            await asyncio.sleep(0)
        await task
        assert refused > 0
        assert await all_names(index, limit=10_000) == [*self.NEW, *kept]

    async def test_both_replace_a_lost_set_at_once(self, index, second):
        self.lose()
        async with asyncio.TaskGroup() as group:
            group.create_task(index.replace_all(stream(self.NEW, pause=True)))
            group.create_task(index.replace_all(stream(self.NEW)))
            group.create_task(second.replace_all(stream(reversed(self.NEW))))
            group.create_task(second.replace_all(stream(self.NEW, pause=True)))
        assert await all_names(index) == list(self.NEW)
        assert await all_names(second) == list(self.NEW)

    async def test_failing_source_leaves_a_lost_set_lost(self, index, second):
        async def break_off() -> AsyncIterator[RepositoryName]:
            async for name in stream(self.NEW):
                yield name
            raise OSError("the listing broke")

        self.lose()
        with pytest.raises(OSError, match="the listing broke"):
            await index.replace_all(break_off())
        for each in (index, second):
            await self.assert_lost(each)

    async def test_set_that_is_lost_during_its_replacement_stays_lost(self, index, second):
        """Names that others added to it in the meantime are lost too, so storage has to be scanned again."""

        async def lose_meanwhile() -> AsyncIterator[RepositoryName]:
            yield RepositoryName("scanned")
            await self.put(second, ["pushed"])
            self.lose()

        with pytest.raises(CatalogLostError):
            await index.replace_all(lose_meanwhile())
        for each in (index, second):
            await self.assert_lost(each)
        await second.replace_all(stream(self.NEW))
        assert await all_names(index) == list(self.NEW)

    async def test_name_removed_while_a_lost_set_is_replaced_stays_out(self, index):
        async def delete_meanwhile() -> AsyncIterator[RepositoryName]:
            yield RepositoryName("deleted")
            with pytest.raises(CatalogLostError):
                await self.take(index, "deleted")
            yield RepositoryName("kept")

        self.lose()
        await index.replace_all(delete_meanwhile())
        assert await all_names(index) == ["kept"]
