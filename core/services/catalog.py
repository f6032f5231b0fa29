"""The catalog: which repositories there are, paged from an index that may fail without failing a push.

Storage decides whether a repository exists; the index only remembers names. What it misses while it is
away is remembered here and written later; what is forgotten even so, a rebuild from storage repairs
(docs/adr/0003).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Final

from core import layout
from core.concurrency import closing, map_bounded
from core.errors import (
    CatalogLostError,
    NameInvalidError,
    PaginationInvalidError,
    StorageError,
    StorageUnavailableError,
)
from core.names import RepositoryName
from core.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex

_LOGGER: Final = logging.getLogger(__name__)

PAGE_SIZE_DEFAULT: Final = 100
PENDING_MAX: Final = 100_000
"""How many missed changes are remembered, about 20 MB of names; what is beyond, a rebuild finds."""
_BATCH_NAMES: Final = 256
_INDEX_PAGE: Final = 1000


class CatalogService:
    """Pages of repository names, and the index's upkeep; one per process, belongs to one event loop.

    Args:
        index: where the names are remembered.
        storage: what decides whether a repository has a manifest.
        page_size_max: the largest page that a client may ask for.
    """

    def __init__(self, index: CatalogIndex, *, storage: BlobStorage, page_size_max: int = 1000) -> None:
        self._index = index
        self._storage = storage
        self._page_size_max = page_size_max
        self._pending: dict[RepositoryName, bool] = {}
        self._writing_pending = asyncio.Lock()
        self._forgotten = 0
        self._is_filled = index.is_derived
        self._is_lost = False
        self._is_away = False

    @property
    def is_derived(self) -> bool:
        """Whether the index is read from storage each time, so that there is nothing to fill or to repair."""
        return self._index.is_derived

    @property
    def pending(self) -> int:
        """How many names the index still has to be told of."""
        return len(self._pending)

    @property
    def trouble(self) -> str:
        """What is wrong with the index, in a few words; empty when nothing is."""
        if self._is_away:
            return "the index does not answer"
        return "the index is being filled" if self._is_lost or not self._is_filled else ""

    @property
    def forgotten(self) -> int:
        """How many changes since the last rebuild came when no more could be remembered."""
        return self._forgotten

    async def page(
        self, n: int | None, last: str | None, *, sees: Callable[[RepositoryName], bool] | None = None
    ) -> Page[RepositoryName]:
        """Return the first `n` names after `last`, which may be any text; 100 unless told, 0 is an empty page.

        Names that `sees`, if given, refuses are as if they were not there: pages are full all the same, and whether
        more follow is told of the others only. Then the index is read on until the page is full, 1,000 names a request.

        What the index missed is written first, so that no page is short of a push that was answered; an index that
        lost its names has no pages until `catch_up` filled it again.

        Raises:
            PaginationInvalidError: `n` is negative or beyond the maximum (as distribution since 2.8).
            StorageUnavailableError: the index does not answer.
        """
        limit = min(PAGE_SIZE_DEFAULT, self._page_size_max) if n is None else n
        if not 0 <= limit <= self._page_size_max:
            raise PaginationInvalidError(f"n must be between 0 and {self._page_size_max}", detail={"n": limit})
        if limit == 0:
            return Page(items=())
        if self._is_lost:
            raise StorageUnavailableError("the catalog's index lost its names and is being filled again")
        try:
            await self._write_pending()
            return await self._visible_page(last or "", limit, sees)
        except CatalogLostError as error:
            self._say_away(error)
            raise

    async def _visible_page(
        self, last: str, limit: int, sees: Callable[[RepositoryName], bool] | None
    ) -> Page[RepositoryName]:
        page = await self._index.page(after=last, limit=limit)
        if sees is None:
            return page
        visible = [name for name in page.items if sees(name)]
        # One more than asked for tells whether anything visible follows.
        while page.has_more and len(visible) <= limit:
            page = await self._index.page(after=page.items[-1], limit=_INDEX_PAGE)
            visible += [name for name in page.items if sees(name)]
        return Page(items=visible[:limit], has_more=len(visible) > limit)

    async def record_push(self, name: RepositoryName) -> None:
        """Have a repository in the catalog; to be called when its manifest is durable.

        Never fails for the index's sake: what it misses is written by `flush_pending`.
        """
        if not self.is_derived:
            await self._record(name, has_manifest=True)

    async def record_removal(self, name: RepositoryName) -> None:
        """Have a repository out of the catalog if it holds no manifest any more; called after deleting one.

        Never fails for the index's or storage's sake. A push at the same moment wins, whoever writes
        first: after the name is out, storage is looked at once more. Costs one request to storage, two
        when it was the last.
        """
        if not self.is_derived:
            await self._record(name, has_manifest=False)

    async def catch_up(self, *, fills: bool = True) -> bool:
        """Fill the index if that was not done yet or it was lost, write what it missed, and return whether all is done.

        To be called at start and from time to time; an outage, of storage too, and its end are logged once.

        Args:
            fills: False where another process fills it first; an outage at start and a loss are repaired by each
                process that noticed.
        """
        try:
            if self._is_lost or (fills and not self._is_filled):
                await self.rebuild()
            elif not self.is_derived:
                await self._index.check()
                self._is_filled = True
            await self.flush_pending()
        except StorageError as error:
            # One that was not there at start has the names of who knows when, if any.
            self._is_lost = self._is_lost or not self._is_filled
            self._say_away(error)
            return False
        self._say_back()
        return True

    async def flush_pending(self) -> int:
        """Tell the index what it missed, and return of how many names; nothing pending costs nothing.

        Raises:
            StorageUnavailableError: the index is still away; what was not written stays pending.
        """
        written = await self._write_pending()
        if self._forgotten:
            await self.rebuild()
        return written

    async def rebuild(self) -> int:
        """Make the index's set the repositories that hold a manifest, and return how many those are.

        Serving goes on: readers see the old or the new set, and pushes meanwhile are kept. Costs a
        listing of all repositories and one request for each, 16 at a time. A derived index has nothing to
        rebuild: 0, at no cost.

        Raises:
            StorageUnavailableError: storage or the index failed; the old set stays.
        """
        if self.is_derived:
            return 0
        forgotten = self._forgotten
        count = 0

        async def counted() -> AsyncIterator[RepositoryName]:
            nonlocal count
            seen: set[RepositoryName] = set()
            for source in (self._repositories(), self._indexed_behind(seen)):
                async with aclosing(source) as names:
                    async for name in names:
                        seen.add(name)
                        count += 1
                        yield name

        await self._index.replace_all(counted())
        self._forgotten -= forgotten
        self._is_filled = True
        self._is_lost = False
        _LOGGER.info("catalog index rebuilt", extra={"index": self._index.name, "repositories": count})
        return count

    async def _write_pending(self) -> int:
        if not self._pending:
            return 0
        # One at a time: a write that was overtaken by another task's would undo a newer change.
        async with self._writing_pending:
            return await self._write_each_pending()

    async def _write_each_pending(self) -> int:
        written = 0
        for name in list(self._pending):
            # Asked for here: it may have changed while the names before it were written.
            has_manifest = self._pending[name]
            await self._write(name, has_manifest=has_manifest)
            # A newer change of this name, noted meanwhile, stays for the next round.
            if self._pending.get(name) == has_manifest:
                del self._pending[name]
                written += 1
        return written

    async def _record(self, name: RepositoryName, *, has_manifest: bool) -> None:
        if self._is_lost:
            # Written now, it would be the only name of an index that looks whole.
            self._remember(name, has_manifest=has_manifest)
            return
        if name in self._pending:
            # An older change is still to be written, perhaps right now; this one must not overtake it.
            self._pending[name] = has_manifest
            return
        try:
            await self._write(name, has_manifest=has_manifest)
        except StorageUnavailableError as error:
            self._remember(name, has_manifest=has_manifest)
            self._say_away(error)
        except BaseException:
            # Cancelled half-way, so nobody knows whether the index has it.
            self._remember(name, has_manifest=has_manifest)
            raise

    async def _write(self, name: RepositoryName, *, has_manifest: bool) -> None:
        if has_manifest:
            await self._index.add(name)
        else:
            await self._remove_if_empty(name)
        self._say_back()

    async def _remove_if_empty(self, name: RepositoryName) -> None:
        if await self._has_manifest(name):
            return
        await self._index.remove(name)
        # A push may have come in between: its manifest, then its name, which we have just removed.
        if await self._has_manifest(name):
            await self._index.add(name)

    def _remember(self, name: RepositoryName, *, has_manifest: bool) -> None:
        if len(self._pending) < PENDING_MAX:
            self._pending[name] = has_manifest
        else:
            self._forgotten += 1

    def _say_away(self, error: StorageError) -> None:
        self._is_lost = self._is_lost or isinstance(error, CatalogLostError)
        if not self._is_away:
            self._is_away = True
            _LOGGER.warning(
                "the catalog is degraded until its index is back; pushes and pulls go on: %s",
                error,
                extra={"index": self._index.name},
            )

    def _say_back(self) -> None:
        if self._is_away:
            self._is_away = False
            _LOGGER.info("catalog index answers again", extra={"index": self._index.name, "pending": self.pending})

    async def _repositories(self) -> AsyncGenerator[RepositoryName, None]:
        """Yield the repositories of storage that hold a manifest."""
        batch: list[RepositoryName] = []
        async with closing(self._storage.list_marked(layout.REPOSITORIES)) as paths:
            async for path in paths:
                name = _as_name(path)
                if name is not None:
                    batch.append(name)
                if len(batch) == _BATCH_NAMES:
                    for each in await self._with_manifest(batch):
                        yield each
                    batch = []
        for each in await self._with_manifest(batch):
            yield each

    async def _indexed_behind(self, seen: AbstractSet[RepositoryName]) -> AsyncGenerator[RepositoryName, None]:
        """Yield names that the index has and the scan did not see, if they hold a manifest by now.

        Such a name was a ghost and is pushed while the scan is elsewhere. Another replica's index adds nothing
        then, because the name is there, so nothing else tells that it must not be dropped.
        """
        after, has_more = "", True
        while has_more:
            page = await self._index.page(after=after, limit=_INDEX_PAGE)
            for name in await self._with_manifest([name for name in page.items if name not in seen]):
                yield name
            after, has_more = (page.items[-1] if page.items else after), page.has_more

    async def _with_manifest(self, names: list[RepositoryName]) -> list[RepositoryName]:
        checks = await map_bounded(self._has_manifest, names)
        return [name for name, has_manifest in zip(names, checks, strict=True) if has_manifest]

    async def _has_manifest(self, name: RepositoryName) -> bool:
        """Tell whether a repository holds a manifest; one request to storage."""
        async with closing(self._storage.walk(layout.revisions(name))) as objects:
            # Folders of deleted manifests and signatures of schema 1 may be left; only a link counts.
            async for key, _ in objects:
                if key.endswith("/link") and "/signatures/" not in key:
                    return True
        return False


def _as_name(path: str) -> RepositoryName | None:
    """Return a path as a name, or None for somebody else's folder, which no request could ask for."""
    try:
        return RepositoryName(path)
    except NameInvalidError:
        return None
