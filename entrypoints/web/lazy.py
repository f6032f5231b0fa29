"""The web page as the server opens it: nothing of it is imported before the first request for a page."""

import asyncio

from aiohttp import web

from entrypoints.http.dispatch import PlainHandler
from entrypoints.http.site import SiteParts


class LazySite:
    """Builds the site at the first request; a registry whose page nobody opens starts as fast as without one.

    Args:
        parts: the parts of the application that the site uses.
    """

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._site: PlainHandler | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request below the path of the page."""
        site = self._site or await self._open()
        return await site(request)

    async def _open(self) -> PlainHandler:
        async with self._lock:
            if self._site is None:
                self._site = await asyncio.to_thread(self._build)
            return self._site

    def _build(self) -> PlainHandler:
        from entrypoints.web.site import Site  # noqa: PLC0415 - templates and languages take a quarter of a second

        return Site(self._parts)
