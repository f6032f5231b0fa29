"""Catalog without an index: repositories are listed from storage, page by page."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from functools import lru_cache

from typing_extensions import override

from adapters.catalog_index.bounds import legal_bound
from core.concurrency import closing
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.store import layout


class ListingCatalogIndex(CatalogIndex):
    """Reads each page from storage; one per process, without any state; lives as long as its storage.

    A repository is listed as soon as it contains a blob. On object stores it is listed from its first upload session
    on: filtering those without a blob would cost a request each (docs/adr/0003). A page costs as much as
    `BlobStorage.list_marked`: about one request per 1,000 repositories on object stores.
    """

    name = "listing"

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    @override
    async def add(self, name: RepositoryName) -> bool:
        return False

    @override
    async def remove(self, name: RepositoryName) -> None:
        return

    @override
    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        if limit == 0:
            return Page(items=())
        items: list[RepositoryName] = []
        async with aclosing(self._names(legal_bound(after))) as names:
            async for name in names:
                if len(items) == limit:
                    return Page(items=items, has_more=True)
                items.append(name)
        return Page(items=items)

    @override
    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        return

    @property
    @override
    def is_derived(self) -> bool:
        return True

    @override
    async def check(self) -> None:
        await self._storage.check()

    async def _names(self, after: str) -> AsyncGenerator[RepositoryName, None]:
        paths = self._storage.list_marked(
            layout.REPOSITORIES, layout.MARK, after=after, passing_over=layout.UPLOADS_DIRECTORY
        )
        # A page ends in the middle of the listing; release the folder or connection of the listing at once.
        async with closing(paths):
            async for path in paths:
                name = _as_name(path)
                if name is not None:
                    yield name


_as_name = lru_cache(maxsize=16_384)(RepositoryName.parse)
"""Cached, because validating the same names again for each listing takes a tenth of its time."""
