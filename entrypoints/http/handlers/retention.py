"""The plan of retention: which tags the rules would delete now, and why.

`/v2/_sohu/registry/retention` shows the plan of all repositories, page by page, and
`/v2/<name>/_sohu/registry/retention` that of one repository. Neither deletes anything.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from core.model.names import RepositoryName
from core.model.pagination import parse_page_size
from core.retention.pulls import Pulls
from core.retention.service import RetentionService
from entrypoints.documents import plan_document
from entrypoints.http.handlers.base import revalidated
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder

PULLS_SECONDS: Final = 60.0
"""How long the records of pulls, which may be many objects, are used again."""


class RecentPulls:
    """The records of pulls, which are read again once they are old.

    Args:
        retention: reads the records.
        clock: monotonic seconds.
    """

    def __init__(self, retention: RetentionService, *, clock: Callable[[], float]) -> None:
        self._retention = retention
        self._clock = clock
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._pulls: Pulls | None = None

    async def read(self) -> Pulls | None:
        """Return the last pulls, at most `PULLS_SECONDS` old (see `RetentionService.known_pulls`)."""
        async with self._reading:
            if self._clock() - self._read_at > PULLS_SECONDS:
                self._pulls = await self._retention.known_pulls()
                self._read_at = self._clock()
            return self._pulls


class RetentionHandlers:
    """Handlers for the plan of retention.

    Args:
        retention: the rules and the tags.
        urls: builds the URLs in responses.
        clock: monotonic seconds.
    """

    def __init__(self, retention: RetentionService, *, urls: UrlBuilder, clock: Callable[[], float]) -> None:
        self._retention = retention
        self._urls = urls
        self._pulls = RecentPulls(retention, clock=clock)

    async def list(self, request: web.Request, _target: Target) -> web.StreamResponse:
        """Show the plans of all repositories to which a rule applies."""
        n, last = parse_page_size(request.query.get("n")), request.query.get("last", "")
        page = await self._retention.page(await self._pulls.read(), n=n, after=last)
        headers = self._urls.pages_around(request, following=page.last or None, n=n)
        return revalidated(request, {"repositories": [plan_document(plan) for plan in page.plans]}, headers)

    async def get(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Show the plan of one repository."""
        name = RepositoryName(target.name)
        return revalidated(request, plan_document(await self._retention.plan(name, await self._pulls.read())), {})
