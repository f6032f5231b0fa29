"""The page of a repository: its tags with their details, and the commands that pull them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from core.concurrency import map_bounded
from core.errors import InvalidInputError, NameUnknownError, UnknownError
from core.model.access import Action
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.restoration.listing import Removal
from core.summaries.own_sizes import OwnSizes
from core.summaries.paging import Cut
from core.summaries.signatures import Signatures
from core.summaries.tag_list import TAG_SORTS, TagDetails, TagPage, TagQuery, TagSelection
from core.trash.entry import may_concern
from core.usage.measurement import RepositoryUsage
from entrypoints.http.routes import Right
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.pull_commands import image_host, pull_commands
from entrypoints.web.visits import Answer, Shown, View, Visit

_PAGE_SIZE: Final = 100
_NEWEST: Final = "-pushed"
_LATEST: Final = "latest"
_WILDCARDS: Final = "*?"
_PLATFORMS_SHOWN: Final = 4
_ATTACHED: Final = "attached"
"""The value of `show` for the tags that clients derive from digests."""
_DESCENDING: Final = tuple(f"-{key}" for key in TAG_SORTS)
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """The storage use of the repository at the last measurement."""

    usage: RepositoryUsage
    at: datetime


class RepositoryViews:
    """Shows the tags of a repository."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._own = OwnSizes(parts.registry.summaries, offload=asyncio.to_thread)
        self._signatures = Signatures(parts.operations.storage, parts.registry.summaries)

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.REPOSITORY, "GET"): self.show}

    async def show(self, visit: Visit) -> Answer:
        """Show a page of tags.

        When the repository is known, costs the requests of `SummaryService.view`, one per 1,000 of the repository's
        referrers (at most five), one for the last measurement, and four for a deletion that can be undone.
        """
        name = visit.require_pull()
        self._registry.tags.require_listable(name)
        values = self._rights(visit, name) | await self._done(visit, name)
        try:
            own, (page, query, is_understood) = await self._look(visit, name)
        except NameUnknownError:
            values |= {"host_of_images": self._host(visit)}
            return Shown(template="repository-unknown.html", values=values, status=_NOT_FOUND)
        digests = {item.state.digest for item in page.items}
        values |= {
            "page": page,
            "own": own,
            "images": page.count - len(page.attached),
            "is_attached": query.selection is TagSelection.ATTACHED,
            "is_understood": is_understood,
            "filter": visit.query("filter"),
            "platform": visit.query("platform"),
            "platforms": _platforms(page.items),
            "platforms_shown": _PLATFORMS_SHOWN,
            "sort": _sort(visit.query("sort")),
            "signed": await self._signatures.signed(name, digests, page.attached),
            "measured": await self._measured(name),
            "pull": self._pull(visit, name, page.items),
            "host_of_images": self._host(visit),
        }
        return Shown(template="repository.html", values=values)

    async def _look(
        self, visit: Visit, name: RepositoryName
    ) -> tuple[Mapping[Digest, int], tuple[TagPage, TagQuery, bool]]:
        """Return the own sizes of the images, and the page. Simultaneous looks at a repository share their requests."""
        own: dict[Digest, int] = {}
        pages = []

        async def find_own() -> None:
            own.update(await self._own.of(name))

        async def find_page() -> None:
            pages.append(await self._page(visit, name))

        await map_bounded(lambda find: find(), (find_own, find_page))
        return own, pages[0]

    async def _page(self, visit: Visit, name: RepositoryName) -> tuple[TagPage, TagQuery, bool]:
        """Return the page, its query, and whether the visitor's filter could be read."""
        is_attached = visit.query("show") == _ATTACHED
        selection = TagSelection.ATTACHED if is_attached else TagSelection.IMAGES
        cut = Cut(n=_PAGE_SIZE, last=visit.query("last"), before=visit.query("before"))
        sort, glob = _sort(visit.query("sort")), _glob(visit.query("filter"))
        is_understood = True
        try:
            query = TagQuery.parse(sort=sort, glob=glob, platform=visit.query("platform"), selection=selection, cut=cut)
        except InvalidInputError:
            query = TagQuery.parse(sort=sort, selection=selection, cut=cut)
            is_understood = False
        return await self._registry.tag_lists.page(name, query), query, is_understood

    def _rights(self, visit: Visit, name: RepositoryName) -> dict[str, Any]:
        origin, flags = self._parts.origins.find(name), self._parts.flags
        is_local = origin is None
        return {
            "name": name,
            "upstream": origin.upstream.name if origin else "",
            "may_delete": is_local and flags.allows(Right.DELETE) and visit.may(Action.DELETE, name),
            "may_see_trash": is_local and visit.may(Action.PUSH, name),
            "may_push": is_local and flags.allows(Right.WRITE) and visit.may(Action.PUSH, name),
        }

    async def _done(self, visit: Visit, name: RepositoryName) -> dict[str, Any]:
        """Return the result of the form before this page, as far as it is certain."""
        return {
            "done": visit.query("done"),
            "done_count": visit.number("done-count"),
            "done_left": visit.number("done-left"),
            "removal": await self._removal(name, visit.query("done-entry")),
        }

    async def _removal(self, name: RepositoryName, entry: str) -> Removal | None:
        """Return an entry of the repository's trash; None if there is none."""
        if not may_concern(entry, name):
            return None
        try:
            removal = await self._registry.trash.removal(entry)
        except UnknownError:
            return None
        return removal if removal.entry.repository == name else None

    async def _measured(self, name: RepositoryName) -> _Measured | None:
        measured = await self._parts.operations.usage_records.last()
        usage = measured.repository(name) if measured is not None else None
        if measured is None or usage is None:
            return None
        return _Measured(usage=usage, at=datetime.fromisoformat(str(measured.store["measuredAt"])))

    def _pull(self, visit: Visit, name: RepositoryName, items: Sequence[TagDetails]) -> dict[str, Any] | None:
        """Return the commands for the tag that the visitor chose, else for `latest`, else for the first one."""
        by_tag = {str(item.tag): item for item in items}
        item = by_tag.get(visit.query("pull")) or by_tag.get(_LATEST) or next(iter(items), None)
        if item is None:
            return None
        commands = pull_commands(visit.request, self._parts.urls, name, item.state.digest, item.tag)
        return {"item": item, "commands": commands, "is_chosen": visit.query("pull") == item.tag}

    def _host(self, visit: Visit) -> str:
        client = visit.client
        return image_host(client.host or "localhost", is_tls=client.scheme == "https")


def _sort(text: str) -> str:
    return text if text in TAG_SORTS or text in _DESCENDING else _NEWEST


def _glob(text: str) -> str:
    """Return a filter as a glob: a text without wildcards is a part of a tag."""
    text = text.strip()
    return text if not text or any(each in text for each in _WILDCARDS) else f"*{text}*"


def _platforms(items: Sequence[TagDetails]) -> Sequence[str]:
    """Return the platforms of a page, as suggestions for the filter."""
    return sorted({platform.text for item in items if item.summary for platform in item.summary.platforms})[:_PAGE_SIZE]
