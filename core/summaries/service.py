"""The state of repositories for lists: each tag with its target, and a summary of each manifest."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final

from core.content_source import Offload
from core.errors import NameUnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.retention.pulls import PullTimes
from core.store.links import Links
from core.store.tag_links import TagLinks
from core.summaries.changes import ChangeLog
from core.summaries.details import BUILT_MAX, ManifestSummaries
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.table import RepositorySummary, RepositoryTable, RepositoryTables
from core.summaries.views import RepositoryView, TagState, TagViews

__all__ = ["BUILT_MAX", "RepositorySummary", "RepositoryTable", "RepositoryView", "SummaryService", "TagState"]

_TOTALS_MAX: Final = 20_000
"""Maximum number of repositories whose summary a process keeps in memory, about 10 MB."""


class SummaryService:
    """Answers questions about repositories and tags; one per process.

    Args:
        storage: the store.
        tag_links: the tags of the store.
        log: the changes that are not folded yet.
        clock: monotonic seconds.
        now: the current time, UTC-aware.
        offload: runs a function in a thread.
        may_store: whether summaries may be stored now.
    """

    def __init__(
        self,
        storage: BlobStorage,
        tag_links: TagLinks,
        *,
        log: ChangeLog,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        offload: Offload,
        may_store: Callable[[], bool] = lambda: True,
    ) -> None:
        self._views = TagViews(storage, tag_links, log, clock=clock, now=now, offload=offload)
        self._details = ManifestSummaries(storage, Links(storage), clock=clock, offload=offload, may_store=may_store)
        self._tables = RepositoryTables(storage, log, self._summary, clock=clock, offload=offload)
        self._pulls = PullTimes(storage, clock=clock)
        self._totals: OrderedDict[RepositoryName, tuple[str, RepositorySummary]] = OrderedDict()

    async def view(self, name: RepositoryName) -> RepositoryView:
        """Return the tags of a repository, as the store has them now.

        When the repository is known, costs one request per 1,000 objects of its tags if they are at most 2,000, else
        one request; and one or two for each tag that changed. In a repository with more objects, a change that another
        program makes is noticed within a minute.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        return await self._views.view(name)

    async def describe(
        self, name: RepositoryName, digests: Collection[Digest], *, built_max: int = BUILT_MAX
    ) -> Mapping[Digest, ManifestSummary]:
        """Return summaries of manifests that the repository holds. No request for those that are known.

        Missing from the result: manifests without readable content, and those for which more than `built_max` manifests
        would have to be read. The same call later continues where this one ended.
        """
        return await self._details.describe(name, digests, built_max=built_max)

    async def repository(self, name: RepositoryName, *, built_max: int = BUILT_MAX) -> RepositorySummary:
        """Return the summary of a repository.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        return await self._total(await self.view(name), built_max)

    async def refresh(self, name: RepositoryName, *, built_max: int = BUILT_MAX) -> RepositorySummary | None:
        """Return the summary of a repository, and store the summaries of its manifests; None without the repository.

        Raises:
            StorageError: the store failed.
        """
        try:
            view = await self.view(name)
        except NameUnknownError:
            return None
        found = await self._total(view, built_max)
        await self._details.store(name, {state.digest for state in view.tags.values()})
        return found

    async def table(self) -> RepositoryTable:
        """Return the summaries of all repositories with the changes recorded until now, as far as they are known.

        One request when warm, and a few for each repository that changed.
        """
        return await self._tables.table()

    async def last_pulls(self, name: RepositoryName) -> Mapping[Digest, datetime]:
        """Return the times of the last recorded pulls of a repository's manifests, by the store's clock.

        Each process writes its pulls every 15 minutes. At most one listing in five minutes, and a request for each new
        record of pulls.
        """
        return await self._pulls.of(name)

    async def _summary(self, name: RepositoryName, built_max: int) -> RepositorySummary | None:
        try:
            return await self.repository(name, built_max=built_max)
        except NameUnknownError:
            return None

    async def _total(self, view: RepositoryView, built_max: int) -> RepositorySummary:
        name = view.name
        version, known = self._totals.get(name, ("", None))
        if known is not None and known.is_complete and version == view.version:
            return known
        digests = {state.digest for state in view.tags.values()}
        summaries = await self.describe(name, digests, built_max=built_max)
        contents: dict[Digest, int] = {}
        for summary in summaries.values():
            contents |= summary.contents
        found = RepositorySummary(
            name=name,
            tags=len(view.tags),
            size=sum(contents.values()),
            pushed_at=max((state.pushed_at for state in view.tags.values()), default=None),
            is_complete=len(summaries) == len(digests),
        )
        self._totals[name] = (view.version, found)
        self._totals.move_to_end(name)
        if len(self._totals) > _TOTALS_MAX:
            self._totals.popitem(last=False)
        return found
