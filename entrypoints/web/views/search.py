"""The search over repositories and tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.errors import InvalidInputError
from core.summaries.query import LENGTH_MAX, parse_query
from core.summaries.search import Hit, Search
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.visits import Answer, Shown, View, Visit

_PAGE_SIZE: Final = 50
_VALUE_LENGTH_MAX: Final = 200
"""Number of characters of a label or annotation that a result shows."""


@dataclass(frozen=True, slots=True)
class Match:
    """A place where a term of the query matched."""

    field: str
    """`name`, `tag`, `digest`, `label`, `annotation`, `platform`, `media` or `type`."""
    key: str = ""
    """The key of a label or annotation."""
    value: str = ""
    """The value of a label or annotation; empty if it is not at hand, as for the first image of an index."""


class SearchViews:
    """Searches as the API does."""

    def __init__(self, parts: SiteParts) -> None:
        self._repositories = parts.registry.repository_lists
        self._search = Search(parts.registry.summaries)

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.SEARCH, "GET"): self.show}

    async def show(self, visit: Visit) -> Answer:
        """Show a page of results; without a query, how to write one.

        Costs what `Search.page` costs: it reads the tags of at most 50 repositories, and at most 700 manifests.
        """
        text = visit.query("q").strip()
        values: dict[str, Any] = {
            "find": text[:LENGTH_MAX],
            "last": visit.query("last"),
            "page": None,
            "problem": "",
        }
        try:
            query = parse_query(text)
        except InvalidInputError as error:
            return Shown(template="search.html", values=values | {"problem": str(error)}, status=400)
        if not query.is_decided:
            names = self._repositories.reader(sees=visit.caller.sees)
            page = await self._search.page(query, names=names, n=_PAGE_SIZE, last=visit.query("last"))
            values |= {"page": page, "results": [(hit, _matches(hit)) for hit in page.hits]}
        return Shown(template="search.html", values=values)


def _matches(hit: Hit) -> list[Match]:
    return [_match(hit, place) for place in hit.matched]


def _match(hit: Hit, place: str) -> Match:
    field, _, key = place.partition(":")
    if not key or hit.summary is None:
        return Match(field, key)
    entries = hit.summary.labels if field == "label" else hit.summary.annotations
    return Match(field, key, entries.get(key, "")[:_VALUE_LENGTH_MAX])
