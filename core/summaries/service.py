"""The state of repositories for lists: each tag with its target, and a summary of each manifest."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
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
from core.summaries.hints import RepositoryHint, hint_of
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.query import Facts, first_image
from core.summaries.shards import CurrentHints, SearchHints
from core.summaries.table import RepositorySummary, RepositoryTable, RepositoryTables
from core.summaries.views import RepositoryView, TagState, TagViews

__all__ = [
    "BUILT_MAX",
    "CurrentHints",
    "RepositorySummary",
    "RepositoryTable",
    "RepositoryView",
    "SummaryService",
    "TagState",
]

_TOTALS_MAX: Final = 20_000
"""Maximum number of repositories whose summary a process keeps in memory, about 10 MB."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The tags of a repository, and their summary."""

    view: RepositoryView
    summary: RepositorySummary


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
        is_recorded: whether all changes of this registry are recorded.
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
        is_recorded: bool = True,
    ) -> None:
        self._views = TagViews(storage, tag_links, log, clock=clock, now=now, offload=offload)
        self._details = ManifestSummaries(storage, Links(storage), clock=clock, offload=offload, may_store=may_store)
        self._tables = RepositoryTables(storage, log, self._summary, clock=clock, offload=offload)
        self._pulls = PullTimes(storage, clock=clock)
        self._hints = SearchHints(storage, log, clock=clock, offload=offload) if is_recorded else None
        self._offload = offload
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

    async def holds(self, name: RepositoryName, digest: Digest) -> bool:
        """Return whether a repository holds a manifest, now and in the store. One request."""
        return await self._details.holds(name, digest)

    async def read_blob(self, name: RepositoryName, digest: Digest, *, size_max: int) -> bytes | None:
        """Return a blob that a repository holds, for a page; no upstream is asked. Two requests.

        None if the repository does not hold it, if it is larger than `size_max`, and if it is damaged.
        """
        return await self._details.read_blob(name, digest, size_max=size_max)

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
        found = await self.refreshed(name, built_max=built_max)
        return None if found is None else found.summary

    async def refreshed(self, name: RepositoryName, *, built_max: int = BUILT_MAX) -> "Refreshed | None":
        """Return what `refresh` returns, with the tags that it describes."""
        try:
            view = await self.view(name)
        except NameUnknownError:
            return None
        found = await self._total(view, built_max)
        await self._details.store(name, {state.digest for state in view.tags.values()})
        return Refreshed(view, found)

    async def hint(self, found: "Refreshed") -> RepositoryHint | None:
        """Return the hint for searches in these tags; None if something is not known, or if it would be too long.

        No request while the summaries are in memory.
        """
        view = found.view
        if not found.summary.is_complete:
            return None
        digests = {state.digest for state in view.tags.values()}
        known = await self.describe(view.name, digests, built_max=0)
        first = {digest: image for digest, summary in known.items() if (image := first_image(summary))}
        images = await self.describe(view.name, set(first.values()), built_max=0)
        is_known = known.keys() == digests and images.keys() == set(first.values())
        if not is_known or not all(each.is_complete for each in (*known.values(), *images.values())):
            return None
        described = ((digest, Facts(each, images.get(first.get(digest, digest)))) for digest, each in known.items())
        hint: RepositoryHint | None = await self._offload(hint_of, view.tags, described)
        return hint

    async def hints(self) -> CurrentHints | None:
        """Return the hints by which a search passes over repositories; None if it must open all of them.

        One request when warm, and one for each stored object that changed.
        """
        return await self._hints.look() if self._hints else None

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
