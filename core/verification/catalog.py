"""Comparison of the catalog index with the repositories in storage, name by name in ascending order."""

from collections.abc import Awaitable, Callable
from typing import Final

from core.errors import StorageUnavailableError
from core.model.names import RepositoryName
from core.ports.catalog_index import CatalogIndex
from core.store import layout
from core.verification.context import Context
from core.verification.findings import Finding, Kind, Outcome, Suspect

_PAGE: Final = 1000


class CatalogComparison:
    """Compares the index with repositories that are given in ascending order; used by one task.

    If the index fails, the comparison reports one finding and stops. The verification continues.

    Args:
        index: the index to compare. An index that is derived from storage is not compared.
        context: the verification.
        rebuild: fills a lost index from storage.
        after: the name after which the comparison begins.
    """

    def __init__(
        self, index: CatalogIndex, context: Context, *, rebuild: Callable[[], Awaitable[int]], after: str = ""
    ) -> None:
        self._index = index
        self._context = context
        self._rebuild = rebuild
        self._page: list[RepositoryName] = []
        self._after = after
        self._has_more = True
        self._is_compared = not index.is_derived

    async def compare(self, name: RepositoryName, *, holds_manifest: bool) -> list[Finding]:
        """Return findings about `name` in the index, and about entries before it that storage does not have."""
        return await self._guarded(lambda: self._compare(name, holds_manifest=holds_manifest))

    async def finish(self) -> list[Finding]:
        """Return findings about index entries after the last repository in storage."""
        return await self._guarded(lambda: self._compare(None, holds_manifest=False))

    async def _guarded(self, compare: Callable[[], Awaitable[list[Suspect]]]) -> list[Finding]:
        if not self._is_compared:
            return []
        try:
            return await self._context.confirmer.confirm(await compare())
        except StorageUnavailableError:
            self._is_compared = False
            return await self._context.confirmer.confirm([self._suspect_index()])

    async def _compare(self, name: RepositoryName | None, *, holds_manifest: bool) -> list[Suspect]:
        suspects = [self._suspect_ghost(ghost) for ghost in await self._take_until(name)]
        is_indexed = bool(self._page) and self._page[0] == name
        if is_indexed:
            self._page.pop(0)
        if name is None:
            return suspects
        belongs = holds_manifest and self._context.rules.is_listed(name)
        if is_indexed and not belongs:
            suspects.append(self._suspect_ghost(name))
        if belongs and not is_indexed:
            suspects.append(self._suspect_lacking(name))
        return suspects

    async def _take_until(self, name: RepositoryName | None) -> list[RepositoryName]:
        taken = []
        while await self._fill() and (name is None or self._page[0] < name):
            taken.append(self._page.pop(0))
        return taken

    async def _fill(self) -> bool:
        while not self._page and self._has_more:
            page = await self._index.page(after=self._after, limit=_PAGE)
            self._page, self._has_more = list(page.items), page.has_more
            self._after = self._page[-1] if self._page else self._after
        return bool(self._page)

    def _suspect_index(self) -> Suspect:
        async def recheck() -> Finding | None:
            try:
                await self._index.page(after="", limit=1)
            except StorageUnavailableError as error:
                detail = f"the catalog index cannot be read: {error}"
            else:
                detail = "the catalog index failed and was compared only in part; run the verification again"
            return Finding(kind=Kind.CATALOG_UNREADABLE, key=layout.REPOSITORIES, detail=detail)

        async def repair() -> Outcome | None:
            try:
                await self._rebuild()
            except StorageUnavailableError:
                return Outcome.FOUND
            return Outcome.REBUILT

        return Suspect(recheck, repair)

    def _suspect_ghost(self, name: RepositoryName) -> Suspect:
        async def recheck() -> Finding | None:
            if not await self._is_indexed(name) or await self._belongs(name):
                return None
            return self._finding(
                Kind.CATALOG_GHOST,
                name,
                "is in the catalog index, but holds no manifest or must not be listed",
            )

        async def repair() -> Outcome | None:
            await self._index.remove(name)
            # A concurrent push may have written its manifest and then the name, which has just been removed.
            if await self._belongs(name):
                await self._index.add(name)
                return None
            return Outcome.REBUILT

        return Suspect(recheck, repair)

    def _suspect_lacking(self, name: RepositoryName) -> Suspect:
        async def recheck() -> Finding | None:
            if await self._is_indexed(name) or not await self._belongs(name):
                return None
            return self._finding(Kind.CATALOG_LACKS, name, "holds manifests, but is not in the catalog index")

        async def repair() -> Outcome | None:
            await self._index.add(name)
            return Outcome.REBUILT

        return Suspect(recheck, repair)

    async def _belongs(self, name: RepositoryName) -> bool:
        return self._context.rules.is_listed(name) and await self._context.reader.holds_manifest(name)

    def _finding(self, kind: Kind, name: RepositoryName, detail: str) -> Finding:
        return Finding(kind=kind, key=layout.repository(name), repository=name, detail=detail)

    async def _is_indexed(self, name: RepositoryName) -> bool:
        # Start just before `name`: only names that begin with `name[:-1]` lie in between.
        after, has_more = name[:-1], True
        while has_more and after < name:
            page = await self._index.page(after=after, limit=_PAGE)
            if name in page.items:
                return True
            after, has_more = (page.items[-1] if page.items else after), page.has_more
        return False
