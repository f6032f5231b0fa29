"""The overview: the repositories that the visitor may pull from."""

from collections.abc import Mapping
from typing import Final

from core.summaries.paging import Cut
from core.summaries.repository_list import RepositoryQuery
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.visits import Answer, Shown, View, Visit

_PAGE_SIZE: Final = 100


class OverviewViews:
    """Lists repositories."""

    def __init__(self, parts: SiteParts) -> None:
        self._repositories = parts.registry.repository_lists

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.OVERVIEW, "GET"): self.show}

    async def show(self, visit: Visit) -> Answer:
        """Show a page of repositories."""
        query = RepositoryQuery.parse(
            text=visit.query("q"),
            sort=visit.query("sort"),
            cut=Cut(n=_PAGE_SIZE, last=visit.query("last"), before=visit.query("before")),
        )
        page = await self._repositories.page(query, sees=visit.caller.sees)
        values = {"page": page, "q": visit.query("q"), "sort": visit.query("sort")}
        return Shown(template="overview.html", values=values)
