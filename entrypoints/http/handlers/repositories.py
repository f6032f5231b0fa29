"""Whole repositories: `DELETE /v2/<name>/_sohu/registry/repository`, an extension of this registry.

The path follows the naming scheme of the OCI distribution-spec ("Extensions": `_<extension>/<component>/<module>`). No
component of a repository name begins with `_`, so the path is unambiguous.
"""

from aiohttp import web

from core.model.names import RepositoryName
from core.registry.facade import Registry
from entrypoints.http.handlers.base import json_response
from entrypoints.http.keys import CALLER
from entrypoints.http.request_events import RequestEvents
from entrypoints.http.routes import Target


class RepositoryHandlers:
    """Handlers for repositories."""

    def __init__(self, registry: Registry, *, events: RequestEvents) -> None:
        self._registry = registry
        self._events = events

    async def delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Delete all tags and manifests, and return their numbers."""
        name, by = RepositoryName(target.name), request[CALLER].principal.name
        removal = await self._registry.delete_repository(name, by=by)
        await self._events.repository_deleted(request, name)
        document = {"name": removal.name, "tags": len(removal.tags), "manifests": len(removal.manifests)}
        return json_response(document | ({"trash": removal.entry} if removal.entry else {}))
