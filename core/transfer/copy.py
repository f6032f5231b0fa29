"""Copy of all or some repositories from one storage to another, while servers use both."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from core.errors import UnsupportedError
from core.model.globs import Globs
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.registry.catalog import CatalogService
from core.store.repositories import repository_paths
from core.transfer.blobs import BlobTransfer, Work
from core.transfer.comparison import Comparison
from core.transfer.expectation import expect_all, expect_some
from core.transfer.removal import Removal, count_extra
from core.transfer.repository import RepositoryTransfer
from core.transfer.staging import begin_staging, end_staging
from core.transfer.tally import TransferProgress
from core.transfer.target import Target
from core.transfer.tasks import for_each

REPOSITORIES_AT_ONCE: Final = 4
"""Repositories compared at once. Most of the time is spent waiting for listings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The repositories to copy, and whether to follow deletions."""

    patterns: Sequence[str] = ()
    """Globs as in access rules; empty for all repositories."""
    follows_deletions: bool = False
    """Whether to remove content that only the target has."""
    _globs: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_globs", Globs(tuple(self.patterns)))

    def includes(self, name: RepositoryName) -> bool:
        """Whether a repository is to be copied."""
        return not self.patterns or self._globs.match(name)


class StorageCopy:
    """One pass of a copy. Afterwards the target has at least everything that the source had when the pass began.

    A killed pass can be started again: it does not send existing content again, and it continues blobs longer than
    `CHECKPOINT_BYTES` from their last checkpoint. A pass over equal storages only lists them. Concurrent passes are
    safe if their `transfer_id`s differ.

    Args:
        work: the storages, and how to use them.
        selection: the repositories to copy.
        catalog: the target's catalog, which gets each repository that came and loses each that went.
    """

    def __init__(self, work: Work, selection: Selection, *, catalog: CatalogService) -> None:
        self._work = work
        self._selection = selection
        self._catalog = catalog
        self._comparison = Comparison(work)
        target = Target(work)
        self._blobs = BlobTransfer(work)
        self._repositories = RepositoryTransfer(work, self._comparison, self._blobs, target)
        self._removal = Removal(work, self._comparison, target)

    async def run(self) -> TransferProgress:
        """Run one pass and return its counts.

        Raises:
            UnsupportedError: source and target are the same storage, or the source is empty and deletions are followed.
            StorageUnavailableError: a storage kept failing; start the pass again.
        """
        if self._selection.follows_deletions:
            await self._require_repositories()
        if not self._work.is_dry:
            await begin_staging(self._work)
        await for_each(self._copy, self._names(), at_once=REPOSITORIES_AT_ONCE)
        if not self._work.is_dry:
            await end_staging(self._work)
        return self._work.tally.progress

    async def expect(self) -> None:
        """Estimate the bytes to send. Meant to run beside `run`, for progress displays only.

        For all repositories, the estimate is the size of all blobs at the source minus those at the target, at one
        request per 1,000 blobs on object stores. For selected repositories, the estimate is the size of the blobs they
        do not link at the target, at one request for each such blob.
        """
        if self._selection.patterns:
            await expect_some(self._work, self._listed(self._work.source), self._comparison, self._blobs)
        else:
            await expect_all(self._work)

    async def _require_repositories(self) -> None:
        async for path in repository_paths(self._work.source):
            if RepositoryName.parse(path):
                return
        raise UnsupportedError(
            "the source has no repositories, so the copy would delete everything at the target; check the source"
        )

    async def _copy(self, name: RepositoryName) -> None:
        self._work.tally.begin(name)
        found = await self._comparison.differences(name)
        # Add the name before the first manifest is written: after a kill, the next pass finds that manifest and
        # records nothing. Record the push as well, because a rebuild by another process may have removed a name
        # without a manifest. Record changes only, since an index may keep the time of the last change.
        copied = await self._repositories.copy(name, found, announce=lambda: self._announce(name))
        if copied.has_manifest and copied.is_changed:
            await self._record(name, has_manifest=True)
        if self._selection.follows_deletions:
            await self._removal.remove(name, found)
        else:
            self._work.tally.add(extra=count_extra(found))
        if not copied.has_manifest and (copied.is_new or self._selection.follows_deletions):
            await self._record(name, has_manifest=False)

    async def _announce(self, name: RepositoryName) -> None:
        if not self._work.is_dry:
            await self._catalog.announce(name)

    async def _record(self, name: RepositoryName, *, has_manifest: bool) -> None:
        if not self._work.is_dry:
            await (self._catalog.record_push(name) if has_manifest else self._catalog.record_removal(name))

    async def _names(self) -> AsyncIterator[RepositoryName]:
        """Yield the repositories to compare, ascending. With deletions, also yield those that only the target has."""
        async with (
            aclosing(self._listed(self._work.source)) as source,
            aclosing(self._listed(self._work.target)) as target,
        ):
            other = await anext(target, None)
            async for name in source:
                while other is not None and other <= name:
                    if other < name and self._takes_extra():
                        yield other
                    other = await anext(target, None)
                yield name
            while other is not None:
                if self._takes_extra():
                    yield other
                other = await anext(target, None)

    def _takes_extra(self) -> bool:
        if not self._selection.follows_deletions:
            self._work.tally.add(extra=1)
        return self._selection.follows_deletions

    async def _listed(self, storage: BlobStorage) -> AsyncGenerator[RepositoryName, None]:
        await self._work.budget.take()
        async for path in repository_paths(storage):
            name = RepositoryName.parse(path)
            if name is not None and self._selection.includes(name):
                yield name
