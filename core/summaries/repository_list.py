"""The list of repositories with their details, in any order.

A caller learns nothing of repositories that it may not see: they are left out before anything is sorted or counted.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from core.concurrency import closing, map_bounded, slices
from core.errors import InvalidInputError, NameUnknownError, PaginationInvalidError
from core.model.names import NAME_LENGTH_MAX, RepositoryName
from core.model.pagination import Page
from core.model.times import time_text
from core.summaries.names import NAMES_MAX, CatalogPages, Names, RepositoryNames, Sees, page_of
from core.summaries.namespaces import Level, LevelQuery, Namespace, Totals, summary_value
from core.summaries.paging import PAGE_SIZE_DEFAULT, Cut, KeyKind, Slice, SortedNames, Sorting
from core.summaries.service import RepositorySummary, RepositoryTable, SummaryService

UNKNOWN_MAX: Final = 10
"""Maximum number of repositories in a page whose details are read from the store because no table has them."""
_BUILT_MAX: Final = 100
"""Maximum number of manifests that are read for each of them."""
_KEYS: Final[Mapping[str, KeyKind]] = {
    "name": KeyKind.NAME,
    "pushed": KeyKind.TIME,
    "size": KeyKind.NUMBER,
    "tags": KeyKind.NUMBER,
}
REPOSITORY_SORTS: Final = tuple(_KEYS)
"""The keys of `sort`."""
_BY_NAME: Final = Sorting("name")
_GROUPED_AT_ONCE: Final = 5_000
"""Number of names that are grouped before other requests have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryQuery:
    """The repositories that a client asks for, and their order."""

    text: str = ""
    """A part of the name."""
    sorting: Sorting = _BY_NAME
    cut: Cut = field(default_factory=Cut)

    @classmethod
    def parse(cls, *, text: str = "", sort: str = "", cut: Cut | None = None) -> Self:
        """Parse the parameters of a list; each may be empty.

        Raises:
            InvalidInputError: a parameter is malformed.
        """
        if len(text) > NAME_LENGTH_MAX:
            raise InvalidInputError(f"q has at most {NAME_LENGTH_MAX} characters")
        return cls(text=text.lower(), sorting=Sorting.parse(sort, REPOSITORY_SORTS), cut=cut or Cut())


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryDetails:
    """A repository with all that a list shows."""

    name: RepositoryName
    summary: RepositorySummary | None
    """None if it is not known yet."""

    def as_json(self) -> dict[str, Any]:
        """Return the members of the list's answer; those that are unknown are left out."""
        summary = self.summary
        members: dict[str, Any] = {"name": self.name}
        if summary is not None:
            pushed = time_text(summary.pushed_at) if summary.pushed_at else None
            members |= {"tags": summary.tags, "size": summary.size if summary.is_complete else None, "pushed": pushed}
        return {key: value for key, value in members.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPage:
    """A page of repositories."""

    items: Sequence[RepositoryDetails]
    previous: str | None
    """The `before` of the previous page; None if there is none."""
    following: str | None
    """The `last` of the next page; None if there is none."""
    is_complete: bool
    """Whether all details are known that the page shows, or that decide what it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelPage:
    """A page of one level of the tree of namespaces."""

    totals: Totals
    """The sums of the namespace."""
    namespaces: Sequence[Namespace]
    repositories: Sequence[RepositoryDetails]
    """The repositories directly in the namespace."""
    number: int
    pages: int
    is_complete: bool
    """Whether all visible repositories were read."""


@dataclass(frozen=True, slots=True)
class _Order:
    """Names in an order, and the objects that it was made of."""

    source: tuple[Sorting, RepositoryTable, Sequence[RepositoryName] | None]
    names: SortedNames[RepositoryName]
    is_complete: bool
    """Whether all values that decide the order are known."""

    def is_of(self, source: tuple[Sorting, RepositoryTable, Sequence[RepositoryName] | None]) -> bool:
        """Whether the order was made of these objects."""
        (sorting, *objects), (own_sorting, *own) = source, self.source
        return sorting == own_sorting and all(one is other for one, other in zip(objects, own, strict=True))


class RepositoryLists:
    """Lists repositories with their details; one per process.

    The catalog decides which repositories are listed. A page by ascending name reads the catalog up to the end of the
    page; any other order needs all visible names, which are in memory if `names` is given.

    Args:
        summaries: answers questions about repositories.
        catalog: returns the names.
        names: keeps all names in memory; None if the catalog must be read for each page.
        page_size_max: the largest page, of the catalog too.
        names_max: maximum number of repositories that are sorted by another key than the name.
    """

    def __init__(
        self,
        summaries: SummaryService,
        *,
        catalog: CatalogPages,
        names: RepositoryNames | None = None,
        page_size_max: int,
        names_max: int = NAMES_MAX,
    ) -> None:
        self._summaries = summaries
        self._catalog = catalog
        self._names = names
        self._order: _Order | None = None
        self._page_size_max = page_size_max
        self._names_max = names_max

    async def page(self, query: RepositoryQuery, *, sees: Sees) -> RepositoryPage:
        """Return a page of the repositories for which `sees` returns true.

        Raises:
            PaginationInvalidError: `n` is beyond the maximum, or a marker is not one of this order.
            CatalogUnavailableError: the index does not respond.
        """
        size = min(PAGE_SIZE_DEFAULT, self._page_size_max) if query.cut.n is None else query.cut.n
        if size > self._page_size_max:
            raise PaginationInvalidError(f"n must be between 0 and {self._page_size_max}", detail={"n": size})
        shown = _restrict(query.text, sees)
        is_complete = True
        if query.sorting == _BY_NAME:
            table = await self._summaries.table()
            part = await (self._before if query.cut.before else self._after)(query.cut, size, shown)
        else:
            table, all_names = await self._table_and_names()
            order = await self._in_order(query.sorting, shown, table, all_names)
            part, is_complete = order.names.page(query.cut, size_max=self._page_size_max), order.is_complete
        items = await self._describe(part.names, table)
        is_complete = is_complete and all(item.summary and item.summary.is_complete for item in items)
        return RepositoryPage(items=items, previous=part.previous, following=part.following, is_complete=is_complete)

    async def level(self, query: LevelQuery, *, sees: Sees) -> LevelPage:
        """Return a page of one level of the tree, with the sums of the repositories for which `sees` returns true.

        Needs all visible names, and reads the details of at most 10 repositories that no table has.

        Raises:
            CatalogUnavailableError: the index does not respond.
        """
        table, all_names = await self._table_and_names()
        names, is_complete = await self._visible(sees, all_names)
        level = Level(query.at, lambda name: _known(name, table))
        for some in slices(names, _GROUPED_AT_ONCE):
            level.add(some)
            await asyncio.sleep(0)
        part = level.part(query.sorting, query.number)
        return LevelPage(
            totals=level.totals,
            namespaces=part.namespaces,
            repositories=await self._describe(part.repositories, table),
            number=part.number,
            pages=part.pages,
            is_complete=is_complete,
        )

    def note(self, name: RepositoryName) -> None:
        """Note that this process changed a repository without a record."""
        if self._names is not None:
            self._names.note(name)

    def reader(self, *, sees: Sees) -> Names:
        """Return a function that reads the next visible names after a text, for one request."""
        known: Sequence[RepositoryName] | None = None
        is_known = False

        async def read(count: int, after: str) -> Page[RepositoryName]:
            nonlocal known, is_known
            if not is_known:
                known, is_known = await self._all_names(), True
            if known is None:
                return await self._catalog(min(count, self._page_size_max), after, sees=sees)
            return page_of(known, count, after, sees)

        return read

    async def _table_and_names(self) -> tuple[RepositoryTable, Sequence[RepositoryName] | None]:
        """Read both at the same time, so that they share the listing of the records."""
        reads: Sequence[Callable[[], Awaitable[Any]]] = (self._summaries.table, self._all_names)
        table, names = await map_bounded(lambda read: read(), reads)
        return table, names

    async def _all_names(self) -> Sequence[RepositoryName] | None:
        return None if self._names is None else await self._names.all()

    async def _in_order(
        self, sorting: Sorting, shown: Sees, table: RepositoryTable, all_names: Sequence[RepositoryName] | None
    ) -> "_Order":
        """Return the visible names in an order; the last order of all names is remembered."""
        source = (sorting, table, all_names)
        if shown is None and self._order is not None and self._order.is_of(source):
            return self._order
        names, is_complete = await self._visible(shown, all_names)
        values = [(name, summary_value(sorting.key, name, _known(name, table))) for name in names]
        if sorting.key != "name":
            known = (_known(name, table) for name in names)
            is_complete = is_complete and all(summary and summary.is_complete for summary in known)
        in_order = SortedNames(values, _KEYS[sorting.key], is_descending=sorting.is_descending)
        order = _Order(source, in_order, is_complete)
        if shown is None and all_names is not None:
            self._order = order
        return order

    async def _after(self, cut: Cut, size: int, sees: Sees) -> Slice[RepositoryName]:
        page = await self._catalog(size, cut.last, sees=sees)
        names = page.items
        return Slice(
            names=names,
            previous=names[0] if cut.last and names else None,
            following=names[-1] if page.has_more else None,
        )

    async def _before(self, cut: Cut, size: int, sees: Sees) -> Slice[RepositoryName]:
        # An index is read in one direction only.
        found: deque[RepositoryName] = deque(maxlen=size + 1)
        has_following = False
        async with closing(self._all(sees)) as names:
            async for name in names:
                if name >= cut.before:
                    has_following = True
                    break
                found.append(name)
        page = list(found)[-size:] if size else []
        return Slice(
            names=page,
            previous=page[0] if len(found) > size > 0 else None,
            following=page[-1] if page and has_following else None,
        )

    async def _visible(
        self, sees: Sees, all_names: Sequence[RepositoryName] | None
    ) -> tuple[Sequence[RepositoryName], bool]:
        """Return the visible names, and whether these are all."""
        found: list[RepositoryName] = []
        if all_names is not None:
            found = [name for name in all_names if sees is None or sees(name)]
            return found[: self._names_max], len(found) <= self._names_max
        async with closing(self._all(sees)) as names:
            async for name in names:
                if len(found) == self._names_max:
                    return found, False
                found.append(name)
        return found, True

    async def _all(self, sees: Sees) -> AsyncIterator[RepositoryName]:
        last, has_more = "", True
        while has_more:
            page = await self._catalog(self._page_size_max, last, sees=sees)
            for name in page.items:
                yield name
            last, has_more = (page.items[-1] if page.items else last), page.has_more

    async def _describe(self, names: Sequence[RepositoryName], table: RepositoryTable) -> Sequence[RepositoryDetails]:
        known = {name: _known(name, table) for name in names}
        unknown = [name for name, summary in known.items() if summary is None][:UNKNOWN_MAX]
        known |= dict(zip(unknown, await map_bounded(self._read, unknown, at_once=2), strict=True))
        return [RepositoryDetails(name=name, summary=known[name]) for name in names]

    async def _read(self, name: RepositoryName) -> RepositorySummary:
        try:
            return await self._summaries.repository(name, built_max=_BUILT_MAX)
        except NameUnknownError:
            # Deleted since the catalog was read, or by another registry, whose deletions the index does not know.
            return _without_tags(name)


def _restrict(text: str, sees: Sees) -> Sees:
    if not text:
        return sees
    return lambda name: text in name and (sees is None or sees(name))


def _known(name: RepositoryName, table: RepositoryTable) -> RepositorySummary | None:
    found = table.repositories.get(name)
    return _without_tags(name) if found is None and table.is_complete else found


def _without_tags(name: RepositoryName) -> RepositorySummary:
    return RepositorySummary(name=name, tags=0, size=0, pushed_at=None)
