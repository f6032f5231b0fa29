"""The catalog: repository names, paged from an index whose failure does not fail a push.

Storage decides whether a repository exists; the index only stores names. Changes that the index misses during an outage
are kept in memory and written later. A rebuild from storage repairs changes that are lost even so (docs/adr/0003).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Final

from core.concurrency import closing, map_bounded
from core.errors import (
    CatalogLostError,
    CatalogUnavailableError,
    PaginationInvalidError,
    StorageError,
    StorageUnavailableError,
)
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.registry.catalog_scan import BATCH_NAMES, CatalogScan
from core.store.repositories import holds_manifest, repository_paths

_LOGGER: Final = logging.getLogger(__name__)

PAGE_SIZE_DEFAULT: Final = 100
PENDING_MAX: Final = 100_000
"""Maximum number of missed changes kept in memory, about 20 MB of names; a rebuild finds any others."""
_INDEX_PAGE: Final = 1000


class CatalogService:
    """Pages of repository names, and the maintenance of the index. One per process; belongs to one event loop.

    Args:
        index: the index of names.
        storage: decides whether a repository holds a manifest.
        page_size_max: the largest page that a client may request.
        lists: whether a repository may be in the catalog, as cached ones may not; None if all may.
    """

    def __init__(
        self,
        index: CatalogIndex,
        *,
        storage: BlobStorage,
        page_size_max: int = 1000,
        lists: Callable[[RepositoryName], bool] | None = None,
    ) -> None:
        self._index = index
        self._storage = storage
        self._page_size_max = page_size_max
        self._lists = lists
        self._pending: dict[RepositoryName, int] = {}
        self._changes = 0
        self._writing_pending = asyncio.Lock()
        self._forgotten = 0
        self._is_filled = index.is_derived
        self._is_lost = False
        self._is_doubtful = False
        self._is_unavailable = False

    @property
    def is_derived(self) -> bool:
        """Whether the index is read from storage each time, so that it never has to be filled or repaired."""
        return self._index.is_derived

    @property
    def pending(self) -> int:
        """Number of names whose change is not yet written to the index."""
        return len(self._pending)

    @property
    def trouble(self) -> str:
        """A short description of the index's problem; empty if there is none."""
        if self._is_unavailable:
            return "the index does not respond"
        return "the index is being rebuilt" if self._is_lost or not self._is_filled else ""

    @property
    def forgotten(self) -> int:
        """Number of changes since the last rebuild that were dropped because too many were pending."""
        return self._forgotten

    async def page(
        self, n: int | None, last: str | None, *, sees: Callable[[RepositoryName], bool] | None = None
    ) -> Page[RepositoryName]:
        """Return the first `n` names after `last`, which may be any text. The default is 100; 0 returns an empty page.

        Names for which `sees` returns false are treated as absent. Pages are full nevertheless, and `has_more`
        considers visible names only. To fill a page, the index is read further, 1,000 names per request.

        Pending changes are written first, so that a page includes every push that was answered. An index that lost its
        names has no pages until `catch_up` has filled it.

        Raises:
            PaginationInvalidError: `n` is negative or beyond the maximum (as distribution since 2.8).
            CatalogUnavailableError: the index does not respond.
            StorageUnavailableError: storage does not respond, and a pending change must be compared with storage.
        """
        limit = min(PAGE_SIZE_DEFAULT, self._page_size_max) if n is None else n
        if not 0 <= limit <= self._page_size_max:
            raise PaginationInvalidError(f"n must be between 0 and {self._page_size_max}", detail={"n": limit})
        if limit == 0:
            return Page(items=())
        if self._is_lost:
            raise CatalogUnavailableError("the catalog index is incomplete and is being rebuilt")
        try:
            await self._write_pending()
            return await self._visible_page(last or "", limit, self._shown(sees))
        except CatalogLostError as error:
            self._note_outage(error)
            raise

    def reader(
        self, *, sees: Callable[[RepositoryName], bool] | None = None
    ) -> Callable[[int, str], Awaitable[Page[RepositoryName]]]:
        """Return a function that reads the next names after a text: at most this many, and at most a page."""

        async def read(count: int, after: str) -> Page[RepositoryName]:
            return await self.page(min(count, self._page_size_max), after, sees=sees)

        return read

    def _shown(self, sees: Callable[[RepositoryName], bool] | None) -> Callable[[RepositoryName], bool] | None:
        # An index that is read from storage, or was filled under another configuration, has unlisted names too.
        lists = self._lists
        if lists is None or sees is None:
            return sees or lists
        return lambda name: lists(name) and sees(name)

    async def _visible_page(
        self, last: str, limit: int, sees: Callable[[RepositoryName], bool] | None
    ) -> Page[RepositoryName]:
        page = await self._index.page(after=last, limit=limit)
        if sees is None:
            return page
        visible = [name for name in page.items if sees(name)]
        # One name more than requested shows whether another visible name follows.
        while page.has_more and len(visible) <= limit:
            page = await self._index.page(after=page.items[-1], limit=_INDEX_PAGE)
            visible += [name for name in page.items if sees(name)]
        return Page(items=visible[:limit], has_more=len(visible) > limit)

    async def announce(self, name: RepositoryName) -> None:
        """Add a repository to the catalog before its first manifest is stored, without a look at storage.

        For writers whose next run does not find out that they were killed between manifest and index. The caller calls
        `record_push` or `record_removal` afterwards. A failing index fails no write, as in `record_push`.
        """
        if not self.is_derived and self._may_list(name):
            await self._record(name, lambda: self._write(name, is_present=True))

    async def record_push(self, name: RepositoryName) -> None:
        """Add a repository to the catalog; called when its manifest is durable.

        Does not fail if the index does: `flush_pending` writes the change later. Costs no storage request, except if
        the name was not in the index: another process may have deleted the manifest and removed the name before this
        process adds it.
        """
        if not self.is_derived and self._may_list(name):
            await self._record(name, lambda: self._add(name))

    async def record_removal(self, name: RepositoryName) -> None:
        """Remove a repository from the catalog if it holds no manifest; called after one was deleted.

        Does not fail if the index or storage does. A concurrent push wins in any order of the writes, because storage
        is checked again after the name was removed. Costs one storage request, or two if the manifest was the last.
        """
        if not self.is_derived:
            await self._record(name, lambda: self._settle(name, indexed=True))

    async def catch_up(self, *, fills: bool = True) -> bool:
        """Fill the index if necessary, write pending changes, and return whether all of this succeeded.

        Filling is necessary if it was not done yet, or if the index has lost its names. Called at start and
        periodically. An outage of the index or storage, and its end, are logged once.

        Args:
            fills: whether this process fills the index. A process that does not fill waits for another one that does,
                so that a loss costs one scan of storage per replica. An outage at start is repaired by each process.
        """
        try:
            if not self.is_derived:
                await self._ensure_filled(fills=fills)
            await self.flush_pending()
        except StorageError as error:
            is_lost = isinstance(error, CatalogLostError)
            is_expected = is_lost and not fills and not self._is_filled
            # An index that was unavailable at start may hold outdated names, or none.
            self._is_doubtful = self._is_doubtful or not (is_lost or self._is_filled)
            self._is_lost = self._is_lost or is_lost or not self._is_filled
            if not is_expected:
                self._note_outage(error)
            return False
        self._note_recovery()
        return True

    async def _ensure_filled(self, *, fills: bool) -> None:
        """Fill the index if it was not filled yet or is lost; otherwise check that it responds.

        Raises:
            CatalogLostError: the index has no names, and another process has to fill it.
        """
        if self._is_filled and not self._is_lost:
            await self._index.check()
        elif fills or self._is_doubtful:
            if not self._is_lost and await self._lacks_names():
                # Until it is filled, pages and pushes must not treat it as complete.
                self._is_lost = True
                _LOGGER.info("catalog index is empty and is being filled", extra={"index": self._index.name})
            await self.rebuild()
        elif await self._is_empty():
            # Somebody created it by hand, or it was filled when storage held nothing: a scan tells.
            await self._require_few_repositories()
            await self.rebuild()
        else:
            # An index gets all of its names at once.
            self._is_filled = True
            self._is_lost = False

    async def _lacks_names(self) -> bool:
        try:
            return await self._is_empty()
        except CatalogLostError:
            return True

    async def _is_empty(self) -> bool:
        return not (await self._index.page(after="", limit=1)).items

    async def _require_few_repositories(self) -> None:
        """Raise `CatalogLostError` if storage holds too many repositories to be scanned by each process."""
        count, is_any_listed = 0, False
        async with closing(repository_paths(self._storage)) as paths:
            async for path in paths:
                name = RepositoryName.parse(path)
                if name is not None and self._may_list(name):
                    count += 1
                    is_any_listed = is_any_listed or await self._belongs(name)
                if is_any_listed and count > BATCH_NAMES:
                    raise CatalogLostError("the catalog index is empty and is being filled by another process")

    async def flush_pending(self) -> int:
        """Write pending changes to the index; return the number of names. Free of cost if there are none.

        Rebuilds an index that is lost, which only a process without `catch_up`, such as a command, leaves to this
        method.

        Raises:
            StorageUnavailableError: the index is still unavailable; unwritten changes stay pending.
        """
        if self._is_lost:
            await self.rebuild()
        written = await self._write_pending()
        if self._forgotten:
            await self.rebuild()
        return written

    async def rebuild(self) -> int:
        """Replace the names in the index by the repositories that hold a manifest; return their number.

        Serving continues: readers see the old or the new set, and concurrent pushes are kept. Costs a listing of all
        repositories and one request for each, 16 at a time, and one more request for each name that the index gains or
        loses: another process may have changed that repository after the scan. For a derived index, returns 0 without
        any request.

        Raises:
            StorageUnavailableError: storage or the index failed; the old set stays.
        """
        if self.is_derived:
            return 0
        forgotten = self._forgotten
        scan = CatalogScan(self._index, storage=self._storage, with_manifest=self._with_manifest)
        async with aclosing(scan.names()) as names:
            await self._index.replace_all(names)
        self._forgotten -= forgotten
        self._is_filled = True
        self._is_lost = False
        self._is_doubtful = False
        count = len(scan.seen)
        _LOGGER.info("catalog index rebuilt", extra={"index": self._index.name, "repositories": count})
        changed = scan.changed()
        try:
            await self._check_again(changed, indexed=scan.seen)
        except StorageError:
            # Another rebuild compares these names, as it does those that could not be remembered.
            self._forgotten += len(changed)
            raise
        return count

    async def _check_again(self, changed: Sequence[RepositoryName], *, indexed: AbstractSet[RepositoryName]) -> None:
        """Look at the names that a rebuild added or removed: another process may have changed them after the scan."""
        for names in (changed[at : at + BATCH_NAMES] for at in range(0, len(changed), BATCH_NAMES)):
            held = set(await self._with_manifest(names))
            for name in names:
                if (name in held) != (name in indexed):
                    await self._settle(name)

    async def _write_pending(self) -> int:
        if not self._pending:
            return 0
        # One task at a time: a write that is overtaken by another task's write would undo a newer change.
        async with self._writing_pending:
            return sum(await map_bounded(self._write_one_pending, list(self._pending)))

    async def _write_one_pending(self, name: RepositoryName) -> bool:
        change = self._pending[name]
        await self._settle(name)
        if self._pending[name] != change:
            # A newer change came during the write and stays pending for the next pass.
            return False
        del self._pending[name]
        return True

    async def _record(self, name: RepositoryName, write: Callable[[], Awaitable[object]]) -> None:
        # In a lost index, this would be the only name of an index that looks complete. A pending name is perhaps being
        # written, and this change must not overtake the older one.
        if self._is_lost or name in self._pending:
            self._remember(name)
            return
        try:
            await write()
        except StorageUnavailableError as error:
            self._remember(name)
            self._note_outage(error)
        except BaseException:
            # Cancelled during the write, so it is unknown whether the index has the change.
            self._remember(name)
            raise

    async def _add(self, name: RepositoryName) -> None:
        if await self._write(name, is_present=True):
            await self._settle(name, indexed=True)

    async def _settle(self, name: RepositoryName, *, indexed: bool | None = None) -> None:
        """Make the index agree with storage on one name, whatever other processes do at the same time.

        Ends when storage, looked at after the last change of the index, still agrees with that change: a process that
        changes storage later also writes to the index later.

        Args:
            name: the repository.
            indexed: whether the index has the name; None where this process does not know.
        """
        while (has_manifest := await self._belongs(name)) is not indexed:
            if not await self._write(name, is_present=has_manifest):
                return
            indexed = has_manifest

    def _may_list(self, name: RepositoryName) -> bool:
        return self._lists is None or self._lists(name)

    async def _belongs(self, name: RepositoryName) -> bool:
        """Whether the catalog should have a name: the repository may be listed, and holds a manifest."""
        return self._may_list(name) and await holds_manifest(self._storage, name)

    async def _write(self, name: RepositoryName, *, is_present: bool) -> bool:
        """Add a name to the index or remove it; return False only if the index certainly had an added name."""
        if is_present:
            is_changed = await self._index.add(name)
        else:
            await self._index.remove(name)
            is_changed = True
        self._note_recovery()
        return is_changed

    def _remember(self, name: RepositoryName) -> None:
        """Note that the index may differ from storage on this name; a later `_settle` decides by storage."""
        if name not in self._pending and len(self._pending) >= PENDING_MAX:
            self._forgotten += 1
            return
        self._changes += 1
        self._pending[name] = self._changes

    def _note_outage(self, error: StorageError) -> None:
        self._is_lost = self._is_lost or isinstance(error, CatalogLostError)
        if not self._is_unavailable:
            self._is_unavailable = True
            _LOGGER.warning(
                "catalog index unavailable, pushes and pulls are not affected: %s",
                error,
                extra={"index": self._index.name},
            )

    def _note_recovery(self) -> None:
        if self._is_unavailable:
            self._is_unavailable = False
            _LOGGER.info("catalog index available again", extra={"index": self._index.name, "pending": self.pending})

    async def _with_manifest(self, names: Sequence[RepositoryName]) -> list[RepositoryName]:
        checks = await map_bounded(self._belongs, names)
        return [name for name, has_manifest in zip(names, checks, strict=True) if has_manifest]
