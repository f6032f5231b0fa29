"""Lists: tags, catalog and referrers (end-8, end-12, and distribution's `_catalog`)."""

from aiohttp import web

from core.model.digest import Digest
from core.model.media_types import OCI_INDEX
from core.model.names import RepositoryName
from core.model.pagination import parse_page_size
from core.registry.facade import Registry
from entrypoints.http.handlers.base import json_response
from entrypoints.http.keys import CALLER, NAMESPACE
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder


class ListHandlers:
    """Handlers for lists."""

    def __init__(self, registry: Registry, *, urls: UrlBuilder) -> None:
        self._registry = registry
        self._urls = urls

    async def tags(self, request: web.Request, target: Target) -> web.StreamResponse:
        """List a repository's tags."""
        name = RepositoryName(target.name)
        n, last = _page_query(request)
        page = await self._registry.tags.page(name, n=n, last=last)
        headers = {}
        if page.has_more:
            headers["Link"] = self._urls.next_page(request, n=n, last=page.items[-1], ns=request.get(NAMESPACE))
        return json_response({"name": name, "tags": page.items}, headers=headers)

    async def catalog(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """List the repositories that the caller may see."""
        n, last = _page_query(request)
        page = await self._registry.catalog.page(n, last, sees=request[CALLER].sees)
        headers = {}
        if page.has_more:
            headers["Link"] = self._urls.next_page(request, n=len(page.items), last=page.items[-1])
        return json_response({"repositories": page.items}, headers=headers)

    async def referrers(self, request: web.Request, target: Target) -> web.StreamResponse:
        """List the referrers of a manifest, as an index."""
        name, subject = RepositoryName(target.name), Digest(target.reference)
        n, last = _page_query(request)
        artifact_type = request.query.get("artifactType")
        page = await self._registry.referrers.page(name, subject, artifact_type=artifact_type, n=n, last=last)
        headers = {}
        if artifact_type is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        if page.has_more:
            headers["Link"] = self._urls.next_page(
                request, n=n, last=page.items[-1].digest, artifactType=artifact_type, ns=request.get(NAMESPACE)
            )
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor.as_json() for descriptor in page.items],
        }
        return json_response(index, headers=headers, content_type=OCI_INDEX)


def _page_query(request: web.Request) -> tuple[int | None, str]:
    return parse_page_size(request.query.get("n")), request.query.get("last", "")
