"""Copies all or some repositories from one storage to another while both are served."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from core import layout
from core.errors import NameInvalidError, UnsupportedError
from core.globs import Globs
from core.names import RepositoryName
from core.ports.blob_storage import BlobStorage
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
"""How many repositories are compared side by side, since that is waiting for listings most of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which repositories are copied, and whether deletions are."""

    patterns: Sequence[str] = ()
    """Globs as in access rules; none for all repositories."""
    follows_deletions: bool = False
    """Whether what the target has beyond the source is removed there."""
    _globs: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_globs", Globs(tuple(self.patterns)))

    def includes(self, name: RepositoryName) -> bool:
        """Whether a repository is to be copied."""
        return not self.patterns or self._globs.match(name)


class StorageCopy:
    """One pass of a copy: afterwards the target has what the source had when the pass began, and perhaps more.

    A pass that is killed is simply started again: what is there is not sent again, and blobs longer than
    `CHECKPOINT_BYTES` go on where they were. A pass over equal storages only lists them. Several passes at once, of
    different `transfer_id`, do no harm.

    Args:
        work: the storages and how they are used.
        selection: what to copy.
        record: told of each repository that came or went at the target, and whether it holds a manifest there.
    """

    def __init__(
        self, work: Work, selection: Selection, *, record: Callable[[RepositoryName, bool], Awaitable[None]]
    ) -> None:
        self._work = work
        self._selection = selection
        self._record = record
        self._comparison = Comparison(work)
        target = Target(work)
        self._blobs = BlobTransfer(work)
        self._repositories = RepositoryTransfer(work, self._comparison, self._blobs, target)
        self._removal = Removal(work, self._comparison, target)

    async def run(self) -> TransferProgress:
        """Make one pass and return what it did.

        Raises:
            UnsupportedError: both storages are one, or deletions are to be followed from an empty source.
            StorageUnavailableError: a storage failed for longer than it was waited for; start again.
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
        """Find out about how many bytes there are to send; meant to run beside `run`, for the display alone.

        For everything that is what all blobs of the source have more than the target's, at one request per 1,000 blobs
        on object stores; for some repositories what they do not link there, at a request for each such blob.
        """
        if self._selection.patterns:
            await expect_some(self._work, self._listed(self._work.source), self._comparison, self._blobs)
        else:
            await expect_all(self._work)

    async def _require_repositories(self) -> None:
        async for path in self._work.source.list_marked(layout.REPOSITORIES):
            if _as_name(path) is not None:
                return
        raise UnsupportedError(
            "the source holds no repository: all of the target would be deleted; is it the right one?"
        )

    async def _copy(self, name: RepositoryName) -> None:
        self._work.tally.begin(name)
        found = await self._comparison.differences(name)
        # Told before the first manifest is there: a copy that is killed in between is told of again, and one that was
        # killed after it would not be. After that only changes are told, since an index may note when the last was.
        copied = await self._repositories.copy(name, found, announce=lambda: self._tell(name, has_manifest=True))
        if copied.has_manifest and copied.is_changed and not copied.is_new:
            await self._tell(name, has_manifest=True)
        if self._selection.follows_deletions:
            await self._removal.remove(name, found)
        else:
            self._work.tally.add(extra=count_extra(found))
        if not copied.has_manifest and (copied.is_new or self._selection.follows_deletions):
            await self._tell(name, has_manifest=False)

    async def _tell(self, name: RepositoryName, *, has_manifest: bool) -> None:
        if not self._work.is_dry:
            await self._record(name, has_manifest)

    async def _names(self) -> AsyncIterator[RepositoryName]:
        """Yield the repositories to look at, ascending; with deletions also those that the target alone has."""
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
        async for path in storage.list_marked(layout.REPOSITORIES):
            name = _as_name(path)
            if name is not None and self._selection.includes(name):
                yield name


def _as_name(path: str) -> RepositoryName | None:
    """Return a path as a name, or None for somebody else's folder, which no request could ask for."""
    try:
        return RepositoryName(path)
    except NameInvalidError:
        return None
