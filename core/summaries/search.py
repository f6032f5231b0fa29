"""The search over repositories and tags, with bounded work per call.

A call reads names in their order and opens only repositories that the name does not decide, and in which something may
match (`core.summaries.hints`). It ends early when it has done enough, and returns the position at which the next call
continues. Names come from the caller, who leaves out those
that a client may not see: hidden repositories are neither opened nor counted.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from core.concurrency import map_bounded, slices
from core.errors import NameUnknownError, PaginationInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.times import time_text
from core.summaries.hints import Needles
from core.summaries.manifest_summary import ManifestSummary
from core.summaries.names import Names, just_before
from core.summaries.query import Facts, Query, first_image
from core.summaries.service import CurrentHints, RepositoryView, SummaryService, TagState
from core.summaries.tag_list import summary_json

HITS_DEFAULT: Final = 100
HITS_MAX: Final = 1_000
NAMES_MAX: Final = 10_000
"""Maximum number of names that one call compares."""
OPENED_MAX: Final = 50
"""Maximum number of repositories whose tags one call reads."""
TAGS_MAX: Final = 10_000
"""Number of tags after which a call ends."""
BUILT_MAX: Final = 200
"""Number of manifests without a known summary after which a call ends; it reads 700 at most."""
UNHINTED_MAX: Final = 8
"""So few repositories are opened without a look at the hints."""
_NAMES_AT_ONCE: Final = 1_000
_OPENED_AT_ONCE: Final = 8
_TAGS_AT_ONCE: Final = 20
_BUILT_AT_ONCE: Final = 500
"""Maximum number of manifests that are read at once: 24 images in each of 20 indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A tag that matches, or a repository whose name matches, with all its tags."""

    repository: RepositoryName
    matched: tuple[str, ...]
    """The places where the terms matched: `name`, `tag`, `digest`, `label:team`, …"""
    tag: Tag | None = None
    state: TagState | None = None
    summary: ManifestSummary | None = None
    """The properties of the manifest; None for a repository, and if they are not known yet."""

    def as_json(self) -> dict[str, Any]:
        """Return the members that clients get; those that are unknown or empty are left out."""
        members: dict[str, Any] = {"repository": self.repository, "tag": self.tag}
        if self.state is not None:
            members |= {"digest": self.state.digest, "pushed": time_text(self.state.pushed_at)}
        if self.summary is not None:
            members |= summary_json(self.summary)
        members["matched"] = self.matched
        return {key: value for key, value in members.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """Consecutive hits, by repository and tag. A page may be short, or empty, although more follow."""

    hits: Sequence[Hit]
    last: str | None
    """The position from which the next page continues; None at the end."""
    is_complete: bool = True
    """Whether the properties of all tags that came into question were known."""


class Search:
    """Searches for what a query describes; one per process.

    Args:
        summaries: the tags and manifests of repositories.
    """

    def __init__(self, summaries: SummaryService) -> None:
        self._summaries = summaries

    async def page(
        self,
        query: Query,
        *,
        names: Names,
        n: int | None = None,
        last: str = "",
        first_only: bool = False,
        names_max: int = NAMES_MAX,
    ) -> SearchPage:
        """Return the first `n` hits after `last`; the default is 100, and 0 returns an empty page.

        Args:
            query: the query.
            names: the repositories to search.
            n: maximum number of hits.
            last: the position of a previous page; any other text is a bound for names.
            first_only: whether one hit of each repository is enough.
            names_max: maximum number of names to compare.

        Raises:
            PaginationInvalidError: `n` is too large.
        """
        n = HITS_DEFAULT if n is None else n
        if n > HITS_MAX:
            raise PaginationInvalidError(f"n must be between 0 and {HITS_MAX}", detail={"n": n})
        if n == 0:
            return SearchPage(hits=(), last=None)
        return await _Run(self._summaries, query, names, n=n, last=last, first_only=first_only).page(names_max)

    async def newest(self, names: Sequence[RepositoryName]) -> Mapping[RepositoryName, Facts]:
        """Return the properties of the newest tag of each repository, without those that are not known.

        Only the first 50 repositories are opened.
        """

        async def read(name: RepositoryName) -> Facts | None:
            view = await _view(self._summaries, name)
            if view is None or not view.tags:
                return None
            digest = max(view.tags.values(), key=lambda state: state.pushed_at).digest
            return (await _Reader(self._summaries).facts(name, [digest])).get(digest)

        opened = names[:OPENED_MAX]
        found = zip(opened, await map_bounded(read, opened, at_once=_OPENED_AT_ONCE), strict=True)
        return {name: facts for name, facts in found if facts is not None}


class _Reader:
    """Reads the summaries for one call, and counts those that were not known."""

    def __init__(self, summaries: SummaryService) -> None:
        self._summaries = summaries
        self._built = 0
        self.is_complete = True
        """Whether all summaries that were asked for could be read."""

    @property
    def allowance(self) -> int:
        """Number of unknown summaries until the call ends."""
        return max(0, BUILT_MAX - self._built)

    async def facts(self, name: RepositoryName, digests: Collection[Digest]) -> Mapping[Digest, Facts]:
        """Return the properties of manifests; an index has the labels of its first image too."""
        found = await self.read(name, digests, built_max=_BUILT_AT_ONCE)
        first = {digest: image for digest, summary in found.items() if (image := first_image(summary))}
        images = await self.read(name, set(first.values()), built_max=_BUILT_AT_ONCE)
        return {digest: Facts(summary, images.get(first.get(digest, digest))) for digest, summary in found.items()}

    async def read(
        self, name: RepositoryName, digests: Collection[Digest], *, built_max: int
    ) -> Mapping[Digest, ManifestSummary]:
        """Return summaries; builds at most `built_max` of those that are not known yet."""
        if not digests:
            return {}
        known = await self._summaries.describe(name, digests, built_max=0)
        unknown = [digest for digest in digests if digest not in known]
        if not unknown:
            return known
        built = await self._summaries.describe(name, unknown, built_max=built_max) if built_max else {}
        self._built += len(unknown) + sum(len(summary.platforms) - 1 for summary in built.values() if summary.platforms)
        self.is_complete = self.is_complete and len(built) == len(unknown)
        return {**known, **built}


class _Run:
    """One call of `Search.page`."""

    def __init__(
        self, summaries: SummaryService, query: Query, names: Names, *, n: int, last: str, first_only: bool
    ) -> None:
        self._summaries = summaries
        self._reader = _Reader(summaries)
        self._query = query
        self._needles = Needles(query)
        self._hints: CurrentHints | None = None
        self._has_hints = False
        self._names = names
        self._n = n
        self._first_only = first_only
        name, _, self._after = last.partition(":")
        self._resumed = RepositoryName.parse(name) if self._after else None
        self._position = just_before(self._resumed) if self._resumed else last
        self._opened = self._examined = 0
        self._hits: list[Hit] = []
        self._is_over = False
        self._is_at_end = False
        """Whether nothing follows the last hit in its repository."""

    async def page(self, names_max: int) -> SearchPage:
        """Search until the page is full, the names end, or enough was done."""
        compared = 0
        has_more = True
        while has_more and not self._is_over:
            page = await self._names(_NAMES_AT_ONCE, self._position)
            has_more = page.has_more
            compared += len(page.items)
            await self._search(page.items)
            if has_more and compared >= names_max:
                self._is_over = True
        hits = await self._with_details()
        last = self._position if self._is_over and (has_more or not self._is_at_end) else None
        return SearchPage(hits=hits, last=last, is_complete=self._reader.is_complete)

    async def _search(self, names: Sequence[RepositoryName]) -> None:
        narrowed = [(name, self._query.on_name(name)) for name in names]
        work = await self._admitted([(name, query) for name, query in narrowed if query is not None])
        for some in slices(work, _OPENED_AT_ONCE):
            views = await self._open([name for name, query in some if not query.is_decided])
            for name, query in some:
                await self._search_one(name, query, views)
                if self._is_over:
                    self._is_at_end = self._is_at_end and name == work[-1][0]
                    return
                self._position = name
                self._is_at_end = False
        self._position = names[-1] if names else self._position

    async def _admitted(self, work: Sequence[tuple[RepositoryName, Query]]) -> Sequence[tuple[RepositoryName, Query]]:
        """Leave out the repositories in which nothing can match."""
        if sum(not query.is_decided for _, query in work) <= UNHINTED_MAX:
            return work
        if not self._has_hints:
            self._hints, self._has_hints = await self._summaries.hints(), True
        hints = self._hints
        if hints is None:
            return work
        known = ((name, query, hints.of(name)) for name, query in work)
        return [(name, query) for name, query, hint in known if hint is None or self._needles.are_in(hint, query)]

    async def _open(self, names: Sequence[RepositoryName]) -> Mapping[RepositoryName, RepositoryView | None]:
        """Read as many repositories as are still allowed."""
        names = names[: OPENED_MAX - self._opened]
        self._opened += len(names)

        async def view(name: RepositoryName) -> RepositoryView | None:
            return await _view(self._summaries, name)

        return dict(zip(names, await map_bounded(view, names), strict=True))

    async def _search_one(
        self, name: RepositoryName, query: Query, views: Mapping[RepositoryName, RepositoryView | None]
    ) -> None:
        if query.is_decided:
            self._add(Hit(repository=name, matched=_sorted(query)), name)
            self._is_at_end = True
        elif name not in views:
            self._is_over = True
        elif (view := views[name]) is not None:
            await self._search_tags(name, query, view)

    async def _search_tags(self, name: RepositoryName, query: Query, view: RepositoryView) -> None:
        after = self._after if name == self._resumed else ""
        before = len(self._hits)
        tags = [(tag, state) for tag, state in view.tags.items() if tag > after]
        for some in slices(tags, _TAGS_AT_ONCE):
            if self._examined >= TAGS_MAX or not self._reader.allowance:
                self._is_over = True
                return
            await self._search_some(name, query, some, last_tag=tags[-1][0])
            if self._is_over or (self._first_only and len(self._hits) > before):
                return
            self._examined += len(some)
            self._position = f"{name}:{some[-1][0]}"
            # Other requests have their turn during a long search.
            await asyncio.sleep(0)

    async def _search_some(
        self, name: RepositoryName, query: Query, tags: Sequence[tuple[Tag, TagState]], *, last_tag: Tag
    ) -> None:
        narrowed = [(tag, state, query.on_tag(tag, state.digest)) for tag, state in tags]
        candidates = [(tag, state, rest) for tag, state, rest in narrowed if rest is not None]
        undecided = {state.digest for _, state, rest in candidates if not rest.is_decided}
        known = await self._reader.facts(name, undecided)
        for tag, state, rest in candidates:
            facts = known.get(state.digest)
            decided = rest if rest.is_decided else rest.on_facts(facts) if facts else None
            if decided is not None:
                summary = facts.summary if facts else None
                hit = Hit(repository=name, matched=_sorted(decided), tag=tag, state=state, summary=summary)
                self._add(hit, f"{name}:{tag}")
                self._is_at_end = self._first_only or tag == last_tag
            if self._is_over or (self._first_only and decided is not None):
                return

    def _add(self, hit: Hit, position: str) -> None:
        self._hits.append(hit)
        self._position = position
        self._is_over = len(self._hits) >= self._n

    async def _with_details(self) -> Sequence[Hit]:
        """Return the hits with summaries of the tags that their names decided, as far as the work is bounded."""
        wanted: dict[RepositoryName, set[Digest]] = {}
        for hit in self._hits:
            if hit.state is not None and hit.summary is None:
                wanted.setdefault(hit.repository, set()).add(hit.state.digest)

        async def read(name: RepositoryName) -> Mapping[Digest, ManifestSummary]:
            return await self._reader.read(name, wanted[name], built_max=self._reader.allowance)

        found = dict(zip(wanted, await map_bounded(read, wanted, at_once=1), strict=True))
        return [
            replace(hit, summary=found[hit.repository].get(hit.state.digest))
            if hit.state is not None and hit.summary is None
            else hit
            for hit in self._hits
        ]


async def _view(summaries: SummaryService, name: RepositoryName) -> RepositoryView | None:
    """Return the tags of a repository; None if it was deleted after its name was read."""
    try:
        return await summaries.view(name)
    except NameUnknownError:
        return None


def _sorted(query: Query) -> tuple[str, ...]:
    return tuple(sorted(query.matched))
