"""The list of a repository's tags."""

import sys

from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.store.repositories import require_repository
from core.store.tag_links import TagLinks


class TagService:
    """Lists tags; one per process."""

    def __init__(self, storage: BlobStorage, tag_links: TagLinks, *, page_size_max: int) -> None:
        self._storage = storage
        self._tags = tag_links
        self._page_size_max = page_size_max

    def require_listable(self, name: RepositoryName) -> None:
        """Raise an error if the tags of a repository must not be listed, whether it exists or not.

        Raises:
            DeniedError: the rules of a cache do not allow it.
        """

    async def page(self, name: RepositoryName, *, n: int | None, last: str) -> Page[Tag]:
        """Return a page for a client (end-8a, end-8b), as `stored_page`."""
        return await self.stored_page(name, n=n, last=last)

    async def stored_page(self, name: RepositoryName, *, n: int | None, last: str) -> Page[Tag]:
        """Return tags that the store has, in ascending order of their code points.

        One storage request per 1,000 tags read.

        Args:
            name: the repository.
            n: maximum number of tags; None for all. A number beyond the limit means the limit.
            last: only tags greater than this, which need not exist; empty for all.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        if n == 0:
            await require_repository(self._storage, name)
            return Page(items=[])
        limit = sys.maxsize if n is None else min(n, self._page_size_max)
        tags = await self._tags.listed(name, after=last, limit=limit + 1)
        if not tags:
            await require_repository(self._storage, name)
        return Page(items=tags[:limit], has_more=len(tags) > limit)
