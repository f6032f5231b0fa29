"""Copy of all or some repositories from one storage to another, while servers use both."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from core.concurrency import for_each
from core.errors import UnsupportedError
from core.model.digest import Digest
from core.model.globs import Globs
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.registry.catalog import CatalogService
from core.store import layout
from core.store.repositories import repository_paths
from core.summaries.changes import ChangeKind, ChangeRecorder
from core.transfer.blobs import BlobTransfer
from core.transfer.comparison import Comparison
from core.transfer.context import CopyContext
from core.transfer.removal import ExtraRemoval, count_extra
from core.transfer.repository import RepositoryTransfer
from core.transfer.staging import begin_staging, end_staging
from core.transfer.tally import TransferProgress

_COMMAND: Final = "registry copy"
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
        context: the storages, and how to use them.
        selection: the repositories to copy.
        catalog: the target's catalog, which gets each repository that came and loses each that went.
        changes: records which repositories of the target changed; None if changes are not recorded.
    """

    def __init__(
        self,
        context: CopyContext,
        selection: Selection,
        *,
        catalog: CatalogService,
        changes: ChangeRecorder | None = None,
    ) -> None:
        self._context = context
        self._changes = changes
        self._selection = selection
        self._catalog = catalog
        self._comparison = Comparison(context)
        self._blobs = BlobTransfer(context)
        self._repositories = RepositoryTransfer(context, self._comparison, self._blobs)
        self._removal = ExtraRemoval(context, self._comparison)

    async def run(self) -> TransferProgress:
        """Run one pass and return its counts.

        Raises:
            UnsupportedError: source and target are the same storage, or the source is empty and deletions are followed.
            StorageUnavailableError: a storage kept failing; start the pass again.
        """
        if self._selection.follows_deletions:
            await self._require_repositories()
        if not self._context.is_dry:
            await begin_staging(self._context)
        await for_each(self._copy, self._names(), at_once=REPOSITORIES_AT_ONCE)
        if not self._context.is_dry:
            await end_staging(self._context)
        return self._context.tally.progress

    async def expect(self) -> None:
        """Estimate the bytes to send. Meant to run beside `run`, for progress displays only.

        For all repositories, the estimate is the size of all blobs at the source minus those at the target, at one
        request per 1,000 blobs on object stores. For selected repositories, the estimate is the size of the blobs they
        do not link at the target, at one request for each such blob.
        """
        context = self._context
        sent = context.tally.progress.bytes_sent
        if self._selection.patterns:
            missing = await self._unlinked_bytes()
        else:
            missing = await self._stored_bytes(context.source) - await self._stored_bytes(context.target)
        context.tally.expect(max(0, sent + missing))

    async def _unlinked_bytes(self) -> int:
        sizes: dict[Digest, int] = {}

        async def measure(digest: Digest) -> None:
            if digest not in sizes and (size := await self._blobs.size(digest)) is not None:
                sizes[digest] = size

        async for name in self._listed(self._context.source):
            await for_each(measure, self._comparison.unlinked(name))
        return sum(sizes.values())

    async def _stored_bytes(self, storage: BlobStorage) -> int:
        total = 0
        async for _, stat in self._context.budget.pace(storage.walk(layout.BLOBS)):
            total += stat.size
        return total

    async def _require_repositories(self) -> None:
        async for path in repository_paths(self._context.source):
            if RepositoryName.parse(path):
                return
        raise UnsupportedError(
            "the source has no repositories, so the copy would delete everything at the target; check the source"
        )

    async def _copy(self, name: RepositoryName) -> None:
        self._context.tally.begin(name)
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
            self._context.tally.add(extra=count_extra(found))
        await self._record_change(name, is_changed=copied.is_changed, extra=count_extra(found))
        if not copied.has_manifest and (copied.is_new or self._selection.follows_deletions):
            await self._record(name, has_manifest=False)

    async def _record_change(self, name: RepositoryName, *, is_changed: bool, extra: int) -> None:
        """Record that a repository of the target changed, for its lists of tags."""
        if self._changes is None or self._context.is_dry:
            return
        if is_changed or (extra and self._selection.follows_deletions):
            await self._changes.record(ChangeKind.OTHER, name, by=_COMMAND)

    async def _announce(self, name: RepositoryName) -> None:
        if not self._context.is_dry:
            await self._catalog.announce(name)

    async def _record(self, name: RepositoryName, *, has_manifest: bool) -> None:
        if not self._context.is_dry:
            await (self._catalog.record_push(name) if has_manifest else self._catalog.record_removal(name))

    async def _names(self) -> AsyncIterator[RepositoryName]:
        """Yield the repositories to compare, ascending. With deletions, also yield those that only the target has."""
        async with (
            aclosing(self._listed(self._context.source)) as source,
            aclosing(self._listed(self._context.target)) as target,
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
            self._context.tally.add(extra=1)
        return self._selection.follows_deletions

    async def _listed(self, storage: BlobStorage) -> AsyncGenerator[RepositoryName, None]:
        await self._context.budget.take()
        async for path in repository_paths(storage):
            name = RepositoryName.parse(path)
            if name is not None and self._selection.includes(name):
                yield name
