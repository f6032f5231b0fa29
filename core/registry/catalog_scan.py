"""The scan of a rebuild of the catalog: repositories in storage, and names in the index that storage holds too."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from core.concurrency import closing
from core.errors import CatalogLostError
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.store.repositories import repository_paths

BATCH_NAMES: Final = 256
"""Number of repositories that are looked at together."""
_INDEX_PAGE: Final = 1000

Filter = Callable[[Sequence[RepositoryName]], Awaitable[Sequence[RepositoryName]]]
"""Returns those of some repositories that the catalog should list."""


class CatalogScan:
    """One scan, for one rebuild; collects the names that it came across.

    Args:
        index: the index that is rebuilt. A lost index has no names.
        storage: decides which repositories exist.
        with_manifest: selects the repositories that the catalog should list.
    """

    def __init__(self, index: CatalogIndex, *, storage: BlobStorage, with_manifest: Filter) -> None:
        self._index = index
        self._storage = storage
        self._with_manifest = with_manifest
        self.seen: set[RepositoryName] = set()
        """The names of the new set, complete at the end of `names`."""
        self._indexed: set[RepositoryName] = set()

    async def names(self) -> AsyncGenerator[RepositoryName, None]:
        """Yield the names of the new set."""
        for source in (self._repositories(), self._indexed_behind()):
            async with aclosing(source) as names:
                async for name in names:
                    self.seen.add(name)
                    yield name

    def changed(self) -> Sequence[RepositoryName]:
        """Return the names that the index gains or loses by the rebuild, sorted."""
        return sorted(self.seen ^ self._indexed)

    async def _indexed_behind(self) -> AsyncGenerator[RepositoryName, None]:
        """Yield names in the index that the scan did not see, if their repositories hold a manifest now.

        The index may contain the name of a repository without manifests. If that repository is pushed to after the scan
        has passed it, the push changes nothing in the index, since the name is there. Only this check keeps the name.
        """
        after, has_more = "", True
        while has_more:
            page = await self._page(after)
            self._indexed.update(page.items)
            for name in await self._with_manifest([name for name in page.items if name not in self.seen]):
                yield name
            after, has_more = (page.items[-1] if page.items else after), page.has_more

    async def _page(self, after: str) -> Page[RepositoryName]:
        try:
            return await self._index.page(after=after, limit=_INDEX_PAGE)
        except CatalogLostError:
            # It was lost before the rebuild. If it was lost during the rebuild, `replace_all` fails.
            return Page(items=())

    async def _repositories(self) -> AsyncGenerator[RepositoryName, None]:
        """Yield the repositories in storage that the catalog should list."""
        batch: list[RepositoryName] = []
        async with closing(repository_paths(self._storage)) as paths:
            async for path in paths:
                name = RepositoryName.parse(path)
                if name is not None:
                    batch.append(name)
                if len(batch) == BATCH_NAMES:
                    for each in await self._with_manifest(batch):
                        yield each
                    batch = []
        for each in await self._with_manifest(batch):
            yield each
