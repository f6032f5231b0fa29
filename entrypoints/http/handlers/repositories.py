"""Whole repositories: `DELETE /v2/<name>/_sohu/registry/repository`, an extension of this registry.

The path follows the naming scheme of the OCI distribution-spec ("Extensions": `_<extension>/<component>/<module>`). No
component of a repository name begins with `_`, so the path is unambiguous.
"""

from aiohttp import web

from core.model.names import RepositoryName
from core.registry.facade import Registry
from entrypoints.http.actors import actor_of
from entrypoints.http.handlers.base import json_response
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder


class RepositoryHandlers:
    """Handlers for repositories."""

    def __init__(self, registry: Registry, *, urls: UrlBuilder) -> None:
        self._registry = registry
        self._urls = urls

    async def delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Delete all tags and manifests, and return their numbers."""
        name = RepositoryName(target.name)
        removal = await self._registry.delete_repository(name, by=actor_of(request, self._urls))
        document = {"name": removal.name, "tags": len(removal.tags), "manifests": len(removal.manifests)}
        return json_response(document | ({"trash": removal.entry} if removal.entry else {}))
