"""Lists with details: tags, repositories, and the extensions of this registry (docs/api.md)."""

from collections.abc import Mapping

from aiohttp import web

from core.errors import InvalidInputError
from core.model.names import RepositoryName
from core.model.pagination import parse_page_size
from core.registry.facade import Registry
from core.summaries.paging import Cut
from core.summaries.repository_list import RepositoryQuery
from core.summaries.tag_list import TagQuery
from entrypoints.http.handlers.base import revalidated
from entrypoints.http.keys import CALLER, NAMESPACE
from entrypoints.http.routes import Target, extensions
from entrypoints.http.urls import UrlBuilder

_BOOLEANS: Mapping[str, bool] = {"": False, "false": False, "true": True}


class DetailHandlers:
    """Handlers for lists with details."""

    def __init__(self, registry: Registry, *, urls: UrlBuilder) -> None:
        self._registry = registry
        self._urls = urls

    async def tags(self, request: web.Request, target: Target) -> web.StreamResponse:
        """List a repository's tags with their details."""
        name = RepositoryName(target.name)
        has_referrers = _BOOLEANS.get(request.query.get("referrers", ""))
        if has_referrers is None:
            raise InvalidInputError("referrers must be true or false")
        query = TagQuery.parse(
            sort=request.query.get("sort", ""),
            glob=request.query.get("filter", ""),
            platform=request.query.get("platform", ""),
            has_referrers=has_referrers,
            cut=_cut(request),
        )
        self._registry.tags.require_listable(name)
        page = await self._registry.tag_lists.page(name, query)
        document = {"name": name, "tags": [item.as_json() for item in page.items]}
        return revalidated(
            request,
            document if page.is_complete else {**document, "incomplete": True},
            self._links(request, page.previous, page.following, "sort", "filter", "platform", "referrers"),
        )

    async def repositories(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """List the repositories that the caller may see, with their details."""
        query = RepositoryQuery.parse(
            text=request.query.get("q", ""), sort=request.query.get("sort", ""), cut=_cut(request)
        )
        page = await self._registry.repository_lists.page(query, sees=request[CALLER].sees)
        document = {"repositories": [item.as_json() for item in page.items]}
        return revalidated(
            request,
            document if page.is_complete else {**document, "incomplete": True},
            self._links(request, page.previous, page.following, "sort", "q"),
        )

    async def extensions(self, request: web.Request, target: Target) -> web.StreamResponse:
        """List the extensions (OCI distribution-spec, `extensions/_oci.md`)."""
        if target.name:
            RepositoryName(target.name)
        root = f"/v2/{target.name}/" if target.name else "/v2/"
        found = [
            {
                "name": extension.name,
                "description": extension.description,
                "url": extension.url,
                "endpoints": [root + path for path in extension.paths],
            }
            for extension in extensions(of_repository=bool(target.name))
        ]
        return revalidated(request, {"extensions": found}, {})

    def _links(
        self, request: web.Request, previous: str | None, following: str | None, *repeated: str
    ) -> Mapping[str, str]:
        query = {key: request.query[key] for key in (*repeated, "n") if request.query.get(key)}
        return self._urls.pages_beside(
            request, previous=previous, following=following, ns=request.get(NAMESPACE), **query
        )


def _cut(request: web.Request) -> Cut:
    return Cut(
        n=parse_page_size(request.query.get("n")),
        last=request.query.get("last", ""),
        before=request.query.get("before", ""),
    )
