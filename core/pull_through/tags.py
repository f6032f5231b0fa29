"""Tag lists of cached repositories: those of the upstream, merged with the stored tags if so configured."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from core.concurrency import closing
from core.errors import DeniedError, NameUnknownError, UpstreamAbsentError, UpstreamError
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.pull_through.flights import Flights
from core.pull_through.listing_memory import ListingMemory
from core.pull_through.origins import Origin, Origins
from core.pull_through.pauses import Pauses
from core.pull_through.rules import TagListSource
from core.registry.tags import TagService
from core.store.tag_links import TagLinks
from core.typing import override

SECTION_MAX: Final = 50_000
"""Tags that are read from an upstream at once: 50 of its pages. The rest of a longer list is read when asked for."""
_HELD_MAX: Final = 200_000
"""Tags of all upstreams in memory; each has about 100 bytes."""
_ENTRY_WEIGHT: Final = 16
_SECONDS_MIN: Final = 5.0
"""Time for which a list is remembered at least, so that a client can read its pages."""
_SUBJECT: Final = "tags/list"


@dataclass(frozen=True, slots=True)
class _Section:
    """Consecutive tags of an upstream."""

    after: str
    """All tags are greater than this."""
    tags: Sequence[Tag] = ()
    """Ascending by code point."""
    is_complete: bool = True
    """Whether no tags follow."""
    is_absent: bool = False
    """Whether the upstream does not have the repository."""

    def following(self, last: str) -> Sequence[Tag]:
        return self.tags[bisect_right(self.tags, last) :]

    def covers(self, last: str, limit: int | None) -> bool:
        """Whether a page can be taken from these tags, and it is known whether more follow."""
        return last >= self.after and (self.is_complete or len(self.following(last)) > (limit or 0))


class CachedTags(TagService):
    """Lists the tags of local repositories like its base; one per process.

    The list of a cached repository is read from its upstream, `section_max` tags at once, and remembered for `recheck`:
    the pages that a client reads cost no further question. If the upstream fails, the list that it sent last counts,
    or else the stored tags.

    Args:
        storage, tag_links, page_size_max: see the base.
        origins: finds the upstreams.
        pauses: the recent failures of the upstreams.
        clock: monotonic seconds.
        section_max: tags that are read from an upstream at once.
    """

    def __init__(
        self,
        storage: BlobStorage,
        tag_links: TagLinks,
        *,
        page_size_max: int,
        origins: Origins,
        pauses: Pauses,
        clock: Callable[[], float],
        section_max: int = SECTION_MAX,
    ) -> None:
        super().__init__(storage, tag_links, page_size_max=page_size_max)
        self._origins = origins
        self._pauses = pauses
        self._section_max = section_max
        self._memory: ListingMemory[RepositoryName, _Section] = ListingMemory(clock=clock, weight_max=_HELD_MAX)
        self._flights: Flights[tuple[RepositoryName, str], _Section] = Flights()

    async def close(self) -> None:
        """Cancel the questions in progress. For the end of the process."""
        await self._flights.close()

    @override
    def require_listable(self, name: RepositoryName) -> None:
        """Require that the rules allow pulls from the repository; see the base."""
        self._listable(name)

    def _listable(self, name: RepositoryName) -> Origin | None:
        origin = self._origins.find(name)
        if origin is not None and not origin.is_allowed:
            raise DeniedError("pulls from this repository are not allowed here", detail={"name": name})
        return origin

    @override
    async def page(self, name: RepositoryName, *, n: int | None, last: str) -> Page[Tag]:
        """Return tags in ascending order of their code points; see the base.

        Raises:
            NameUnknownError: the upstream does not have the repository, and no tag of it is to be listed.
            DeniedError: the rules do not allow pulls from this repository of the upstream.
            UpstreamError: the upstream failed, and no tag is stored.
        """
        origin = self._listable(name)
        if origin is None or origin.rules.tags is TagListSource.LOCAL:
            return await self.stored_page(name, n=n, last=last)
        limit = None if n is None else min(n, self._page_size_max, self._section_max // 2)
        try:
            section = await self._section(origin, name, last, limit)
        except UpstreamError as error:
            return await self._stored_or_error(name, n, last, error)
        if not section.is_absent:
            is_merged = origin.rules.tags is TagListSource.MERGE
            stored = await self._stored_tags(name, last, limit, section) if is_merged else ()
            some = section.following(last)
            return _page_of(sorted({*(some if limit is None else some[: limit + 1]), *stored}), limit, section)
        if origin.rules.tags is TagListSource.UPSTREAM:
            raise NameUnknownError("repository name not known to registry", detail={"name": name})
        return await self.stored_page(name, n=n, last=last)

    async def _stored_or_error(self, name: RepositoryName, n: int | None, last: str, error: UpstreamError) -> Page[Tag]:
        try:
            return await self.stored_page(name, n=n, last=last)
        except NameUnknownError:
            # Nothing is stored, which is no reason to report the repository as absent.
            raise error from None

    async def _stored_tags(
        self, name: RepositoryName, last: str, limit: int | None, section: _Section
    ) -> Sequence[Tag]:
        """Return the stored tags for a page, none of them beyond the tags of the upstream that are known."""
        found = await self._tags.listed(name, after=last, limit=self._section_max if limit is None else limit + 1)
        return found if section.is_complete else found[: bisect_right(found, section.tags[-1])]

    async def _section(self, origin: Origin, name: RepositoryName, last: str, limit: int | None) -> _Section:
        """Return the upstream's tags from which a page can be taken."""
        section = self._memory.fresh(name)
        try:
            if section is None:
                section = await self._flights.run((name, ""), lambda: self._read(origin, name, ""))
            if not section.covers(last, limit):
                section = await self._flights.run((name, last), lambda: self._read(origin, name, last))
        except UpstreamError:
            known = self._memory.last(name)
            if known is None or known.is_absent or not known.covers(last, limit):
                raise
            section = known
        return section

    async def _read(self, origin: Origin, name: RepositoryName, after: str) -> _Section:
        upstream, rules = origin.upstream, origin.rules
        if (paused := self._pauses.failure_of(upstream.name, (name, _SUBJECT))) is not None:
            raise paused
        tags: set[Tag] = set()
        count = 0
        try:
            async with closing(upstream.tags(origin.name, after=after)) as found:
                async for tag in found:
                    count += 1
                    if count > self._section_max:
                        break
                    tags.add(tag)
        except UpstreamAbsentError:
            section, seconds = _Section("", is_absent=True), rules.absent_seconds
        except UpstreamError as error:
            self._pauses.note(upstream.name, (name, _SUBJECT), error, seconds=rules.recheck_seconds)
            raise
        else:
            section = _Section(after, sorted(tags), is_complete=count <= self._section_max)
            seconds = max(rules.recheck_seconds, _SECONDS_MIN)
        self._pauses.note_answer(upstream.name)
        self._memory.put(name, section, weight=len(tags) + _ENTRY_WEIGHT, seconds=seconds)
        return section


def _page_of(tags: Sequence[Tag], limit: int | None, section: _Section) -> Page[Tag]:
    if limit is not None and len(tags) > limit:
        return Page(items=tags[:limit], has_more=limit > 0)
    return Page(items=tags, has_more=bool(tags) and not section.is_complete)
