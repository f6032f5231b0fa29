"""The catalog in memory: for tests, for the in-memory storage, and as the reference of the contract suite."""

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterable

from typing_extensions import override

from adapters.catalog_index.journal import ChangeJournal
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.catalog_index import CatalogIndex


class InMemoryCatalogIndex(CatalogIndex):
    """A sorted list of names; belongs to one event loop; not persistent.

    A page costs a binary search; a change also shifts the rest of the list.
    """

    name = "inmemory"

    def __init__(self) -> None:
        self._names: list[RepositoryName] = []
        self._journal = ChangeJournal()

    @override
    async def add(self, name: RepositoryName) -> bool:
        self._journal.note(name, present=True)
        position = bisect_left(self._names, name)
        is_new = self._names[position : position + 1] != [name]
        if is_new:
            self._names.insert(position, name)
        return is_new

    @override
    async def remove(self, name: RepositoryName) -> None:
        self._journal.note(name, present=False)
        position = bisect_left(self._names, name)
        if self._names[position : position + 1] == [name]:
            del self._names[position]

    @override
    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        start = bisect_right(self._names, after)
        end = start + limit
        return Page(items=tuple(self._names[start:end]), has_more=0 < limit < len(self._names) - start)

    @override
    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        with self._journal.recording() as changes:
            fresh = {name async for name in names if name not in changes}
            kept = {name for name in self._names if changes.get(name)}
            self._names = sorted(kept | {name for name in fresh if changes.get(name, True)})

    @property
    @override
    def is_derived(self) -> bool:
        return False

    @override
    async def check(self) -> None:
        return
