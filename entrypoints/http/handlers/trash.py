"""The trash: lists, restoration and permanent removal of entries, for operators and for users of one repository.

`/v2/_sohu/registry/trash` is for operators. `/v2/<name>/_sohu/registry/trash` shows and restores only entries of one
repository, which also works after the whole repository was deleted.
"""

from typing import Final

from aiohttp import web

from core.errors import PaginationInvalidError
from core.model.names import RepositoryName
from core.model.pagination import parse_page_size
from core.registry.facade import Registry
from core.trash.entry import kind_of
from entrypoints.documents import discard_document, removal_document, restoration_document
from entrypoints.http.actors import actor_of
from entrypoints.http.handlers.base import json_response, revalidated
from entrypoints.http.handlers.bodies import require_action
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder

_TAGS_MAX: Final = 100
"""Number of tags shown of one entry."""


class TrashHandlers:
    """Handlers for the trash."""

    def __init__(self, registry: Registry, *, urls: UrlBuilder) -> None:
        self._registry = registry
        self._urls = urls

    async def list(self, request: web.Request, target: Target) -> web.StreamResponse:
        """List entries that can be restored, oldest first."""
        wanted = target.name or request.query.get("repository", "")
        n, last = parse_page_size(request.query.get("n")), request.query.get("last", "")
        if last and (kind_of(last) is None or "/" in last):
            raise PaginationInvalidError("last must be an entry of the trash")
        trash = self._registry.trash
        page = await trash.page(n=n, last=last, repository=RepositoryName(wanted) if wanted else None)
        following = page.items[-1].entry.id if page.has_more else None
        repository = None if target.name else wanted or None
        headers = self._urls.pages_around(request, following=following, n=n, repository=repository)
        entries = [
            removal_document(removal, expires_at=trash.expires_at(removal.entry), tags_max=_TAGS_MAX)
            for removal in page.items
        ]
        return revalidated(request, {"entries": entries}, headers)

    async def restore(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Restore an entry."""
        repository = RepositoryName(target.name) if target.name else None
        document = await require_action(request, "restore", {"force": bool})
        restoration = await self._registry.restore(
            target.reference,
            by=actor_of(request, self._urls),
            force=document.get("force", False),
            repository=repository,
        )
        return json_response(restoration_document(restoration))

    async def delete(self, _request: web.Request, target: Target) -> web.StreamResponse:
        """Remove an entry permanently."""
        return json_response(discard_document(await self._registry.trash.discard(target.reference)))
