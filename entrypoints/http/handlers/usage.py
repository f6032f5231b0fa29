"""Storage use: the last measurement, of the whole store for operators and of one repository for its users."""

from typing import Final

from aiohttp import web
from typing_extensions import override

from core.errors import PaginationInvalidError
from core.model.access import ADMINISTRATION
from core.model.names import RepositoryName
from core.model.pagination import parse_page_size
from core.store.repositories import require_repository
from core.usage.records import parse_position, position_of
from entrypoints.http.handlers.base import revalidated
from entrypoints.http.handlers.jobs import JobHandlers
from entrypoints.http.keys import CALLER
from entrypoints.http.operations import Operations
from entrypoints.http.routes import Target
from entrypoints.http.runtime_flags import RuntimeFlags
from entrypoints.http.urls import UrlBuilder

_PAGE_SIZE: Final = 100
_PAGE_SIZE_MAX: Final = 1_000


class UsageHandlers(JobHandlers):
    """Handlers for storage use."""

    def __init__(self, operations: Operations, flags: RuntimeFlags, *, urls: UrlBuilder) -> None:
        super().__init__(operations.usage, flags)
        self._storage = operations.storage
        self._records = operations.usage_records
        self._urls = urls

    @override
    async def get(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Return the last measurement, with a page of the repositories that have the most own bytes."""
        n = parse_page_size(request.query.get("n"))
        n = _PAGE_SIZE if n is None else min(n, _PAGE_SIZE_MAX)
        after = request.query.get("last", "")
        position = parse_position(after)
        if after and position is None:
            raise PaginationInvalidError("last must come from a link")
        document = await self._document()
        measured = await self._records.last()
        if measured is None:
            return revalidated(request, document | {"usage": None, "byRepository": []}, {})
        page = measured.page(n, position)
        following = position_of(page.items[-1]) if page.has_more and page.items else None
        headers = self._urls.pages_around(request, following=following, n=n)
        items = [usage.as_json() for usage in page.items]
        return revalidated(request, document | {"usage": measured.store, "byRepository": items}, headers)

    async def of_repository(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Return the use of one repository at the last measurement."""
        name = RepositoryName(target.name)
        await require_repository(self._storage, name)
        measured = await self._records.last()
        usage = measured.repository(name) if measured is not None else None
        if measured is None or usage is None:
            return revalidated(request, {"name": name}, {})
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
        return revalidated(request, document, {})
