"""A stop that lets requests in flight finish.

aiohttp's own shutdown drops what arrives for requests that are under way, which cuts every upload: so the requests are
waited for before it begins.
"""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

CUT_SECONDS: Final = 1.0
"""How long a request that outlived the drain has to end after it was cancelled."""


class InFlight:
    """Counts the requests under way; one per application."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False
        """Whether the server is stopping."""

    def middleware(self) -> Middleware:
        """Return the middleware that counts; the outermost one."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._count += 1
            self._idle.clear()
            try:
                return await handler(request)
            finally:
                self._count -= 1
                if self._count == 0:
                    self._idle.set()

        return count

    async def close_connection(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Ask clients to connect anew, elsewhere, once the drain has begun (a response-prepare signal)."""
        if self.is_draining:
            response.force_close()
            # aiohttp computes this header before the signal. A client without it reuses the closed connection.
            response.headers["Connection"] = "close"

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until no request is under way, at most so long; return whether that came about."""
        self.is_draining = True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
