"""Storage use: the last measurement, of the whole store for operators and of one repository for its users."""

from typing import Final

from aiohttp import web

from core.errors import PaginationInvalidError
from core.model.access import ADMINISTRATION
from core.model.names import RepositoryName
from core.model.pagination import parse_page_size
from core.store.repositories import require_repository
from core.usage.records import parse_position, position_of
from entrypoints.http.handlers.base import json_response
from entrypoints.http.keys import CALLER
from entrypoints.http.operations import Operations
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder

_PAGE_SIZE: Final = 100
_PAGE_SIZE_MAX: Final = 1_000


class UsageHandlers:
    """Handlers for storage use."""

    def __init__(self, operations: Operations, *, urls: UrlBuilder) -> None:
        self._storage = operations.storage
        self._runner = operations.usage
        self._urls = urls

    async def get(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Return the last measurement, with a page of the repositories that have the most own bytes."""
        n = parse_page_size(request.query.get("n"))
        n = _PAGE_SIZE if n is None else min(n, _PAGE_SIZE_MAX)
        after = request.query.get("last", "")
        position = parse_position(after)
        if after and position is None:
            raise PaginationInvalidError("last must come from a link")
        measured = await self._runner.records.last()
        if measured is None:
            return json_response({})
        page = measured.page(n, position)
        headers = {}
        if page.has_more and page.items:
            headers["Link"] = self._urls.next_page(request, n=n, last=position_of(page.items[-1]))
        document = {**measured.store, "byRepository": [usage.as_json() for usage in page.items]}
        return json_response(document, headers=headers)

    async def measure(self, _request: web.Request, _target: Target) -> web.StreamResponse:
        """Start a measurement in the background."""
        response = json_response({"started": await self._runner.start()})
        response.set_status(202)
        return response

    async def of_repository(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Return the use of one repository at the last measurement."""
        name = RepositoryName(target.name)
        await require_repository(self._storage, name)
        measured = await self._runner.records.last()
        usage = measured.repository(name) if measured is not None else None
        if measured is None or usage is None:
            return json_response({"name": name})
        document: dict[str, object] = {
            "name": name,
            "measuredAt": measured.store["measuredAt"],
            "blobs": usage.blobs,
            "bytes": usage.size,
        }
        caller = request[CALLER]
        if caller.policy.allows(caller.principal, ADMINISTRATION):
            # Others would learn whether repositories that they may not see contain the same content.
            document |= {"ownBytes": usage.own, "sharedBytes": usage.shared}
        return json_response(document)
