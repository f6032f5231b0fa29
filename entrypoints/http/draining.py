"""Draining: a stop that lets requests in flight finish.

aiohttp's own shutdown discards data that arrives for requests in flight, which breaks every upload. The server
therefore waits for the requests before it starts that shutdown.
"""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

CUT_SECONDS: Final = 1.0
"""Time that a request cancelled after the drain has to end."""


class InFlight:
    """Counts the requests in flight; one per application."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False
        """Whether the server is stopping."""

    def begin(self) -> None:
        """Count a request that has begun."""
        self._count += 1
        self._idle.clear()

    def end(self) -> None:
        """Count a request that has ended."""
        self._count -= 1
        if self._count == 0:
            self._idle.set()

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request until it is answered."""
        self.begin()
        try:
            return await handler(request)
        finally:
            self.end()

    async def close_connection(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Close connections during the drain, so that clients reconnect elsewhere (a response-prepare signal)."""
        if self.is_draining:
            response.force_close()
            # aiohttp computes this header before the signal. Without the header, a client reuses the closed connection.
            response.headers["Connection"] = "close"

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until no request is in flight, at most `timeout_seconds`; return whether all requests finished."""
        self.is_draining = True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
