"""Search: this registry's extension, and the paths of v1 registries that `docker search` and `podman search` request.

Clients of v1 registries request `/v1/_ping` first, without credentials. Its header makes docker send a password only if
the user has logged in; otherwise docker would send an empty one over HTTPS, which is not that of an anonymous user.
"""

from typing import Final

from aiohttp import web

from core.errors import InvalidInputError, PaginationInvalidError
from core.model.pagination import parse_page_size
from core.registry.facade import Registry
from core.summaries.query import Facts, parse_query
from core.summaries.search import HITS_MAX, Search
from entrypoints.http.handlers.base import json_response, revalidated
from entrypoints.http.keys import CALLER
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder

_V1_DEFAULT: Final = 25
_V1_MAX: Final = 100
"""Page sizes of v1 registries: the default of the clients, and the largest that they ask for."""
_V1_NAMES_MAX: Final = 100_000
"""Maximum number of names that a v1 search compares: its clients cannot continue where a page ended."""
_DESCRIPTIONS: Final = ("org.opencontainers.image.description", "org.opencontainers.image.title")
_DESCRIPTION_LENGTH_MAX: Final = 200


class SearchHandlers:
    """Handlers for searches."""

    def __init__(self, registry: Registry, *, urls: UrlBuilder) -> None:
        self._repositories = registry.repository_lists
        self._search = Search(registry.summaries)
        self._urls = urls

    async def search(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Search the repositories that the caller may see."""
        text = request.query.get("q", "")
        query = parse_query(text)
        if query.is_decided:
            raise InvalidInputError("q must contain the query")
        n = parse_page_size(request.query.get("n"))
        names = self._repositories.reader(sees=request[CALLER].sees)
        page = await self._search.page(query, names=names, n=n, last=request.query.get("last", ""))
        document = {"results": [hit.as_json() for hit in page.hits]}
        return revalidated(
            request,
            document if page.is_complete else {**document, "incomplete": True},
            self._urls.pages_around(request, following=page.last, q=text, n=n),
        )

    async def search_v1(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Search repositories by name, as v1 registries do; terms with a field select by tags and contents."""
        text = request.query.get("q", "")
        size = min(parse_page_size(request.query.get("n")) or _V1_DEFAULT, _V1_MAX)
        number = parse_page_size(request.query.get("page")) or 1
        if size * number > HITS_MAX:
            raise PaginationInvalidError(f"pages end with result {HITS_MAX}", detail={"page": number})
        page = await self._search.page(
            parse_query(text).by_name(),
            names=self._repositories.reader(sees=request[CALLER].sees),
            n=size * number,
            first_only=True,
            names_max=_V1_NAMES_MAX,
        )
        found = [hit.repository for hit in page.hits][size * (number - 1) :]
        facts = await self._search.newest(found)
        results = [
            {
                "name": name,
                "description": _description(facts.get(name)),
                "star_count": 0,
                "is_official": False,
                "is_automated": False,
                "is_trusted": False,
            }
            for name in found
        ]
        document = {
            "query": text,
            "num_results": len(results),
            "num_pages": number if page.last is None else number + 1,
            "page": number,
            "page_size": size,
            "results": results,
        }
        return json_response(document)

    async def ping_v1(self, _request: web.Request, _target: Target) -> web.StreamResponse:
        """Answer the ping that precedes a search of a v1 registry."""
        return json_response({"standalone": False}, headers={"X-Docker-Registry-Standalone": "false"})


def _description(facts: Facts | None) -> str:
    if facts is None:
        return ""
    for key in _DESCRIPTIONS:
        if text := facts.find(key)[:_DESCRIPTION_LENGTH_MAX].strip():
            # Clients print the text of images, which must not control a terminal.
            return "".join(character if character.isprintable() else " " for character in text)
    return ""
