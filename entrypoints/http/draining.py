"""Draining: a stop that lets requests in flight finish.

aiohttp's own shutdown discards data that arrives for requests in flight, which breaks every upload. The server
therefore waits for the requests before it starts that shutdown.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

IDLE_SECONDS: Final = 1.0
"""Time that connections stay open for one more request after a stop was requested.

A client, or a load balancer with a pool of connections, may have sent a request before it learns that the connection
is closed. Such a request fails, and nobody may repeat it if its body was sent.
"""
_LOOK_SECONDS: Final = 0.02
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

    async def drain(self, timeout_seconds: float, *, is_connected: Callable[[], bool] = lambda: False) -> bool:
        """Wait until no request is in flight, at most `timeout_seconds`; return whether all requests finished.

        Args:
            timeout_seconds: the longest wait.
            is_connected: whether a client is connected. Clients get `IDLE_SECONDS` for one more request each, whose
                response closes the connection.
        """
        self.is_draining = True
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout_seconds
        idle_ends = min(ends, loop.time() + IDLE_SECONDS)
        while is_connected() and loop.time() < idle_ends:  # noqa: ASYNC110 - aiohttp announces no end of a connection
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            async with asyncio.timeout_at(ends):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
