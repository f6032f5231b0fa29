"""Real endpoint for events: an aiohttp server in its own thread, which can be slow, broken or unreachable."""

import asyncio
import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.support.ports import free_port


@dataclass(frozen=True)
class Delivery:
    """One request to the endpoint, and the status of the response."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    event: Mapping[str, Any]
    status: int

    @property
    def repository(self) -> str:
        """Repository that the event is about."""
        name: str = self.event["target"]["repository"]
        return name


class EventEndpoint:
    """Endpoint that keeps the received events, in order; `answer` returns the status for a path and an event.

    Status 0 means no response at all. The endpoint runs within its context; call `close` and `open` to simulate an
    outage.
    """

    def __init__(self, answer: Callable[[str, Mapping[str, Any]], int] = lambda _path, _event: 200) -> None:
        self.answer = answer
        self.port = free_port()
        self.delay_seconds = 0.0
        """Delay of each response."""
        self.deliveries: list[Delivery] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def url(self, path: str = "/events") -> str:
        """Return the URL for events."""
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> None:
        """Start listening."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(60)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)

    def taken(self, *, path: str = "/events", repository: str | None = None) -> Sequence[Delivery]:
        """Return the deliveries that were answered with success, in order."""
        return [
            each
            for each in list(self.deliveries)
            if each.path == path and 200 <= each.status < 400 and repository in {None, each.repository}
        ]

    async def _open(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def _close(self) -> None:
        if self._runner is not None:
            server = self._runner.server
            await self._runner.cleanup()
            # The loop closes aborted connections a little later.
            await asyncio.sleep(0.1)
            # A client may have connected while the listener was closed.
            for connection in server.connections if server is not None else ():
                connection.force_close()
            await asyncio.sleep(0)
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        [event] = json.loads(body)["events"]
        await asyncio.sleep(self.delay_seconds)
        status = self.answer(request.path, event)
        if status:
            self.deliveries.append(Delivery(request.path, request.headers, body, event, status))
            return web.Response(status=status)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


def unreliable(seed: int, rate: float) -> Callable[[str, Mapping[str, Any]], int]:
    """Return an `answer` function that fails at this rate, in one of several ways."""
    chance = random.Random(seed)
    return lambda _path, _event: chance.choice([0, 500, 503, 404]) if chance.random() < rate else 200
