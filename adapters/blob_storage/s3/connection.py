"""One connection to the store for requests whose answers fit in memory.

aiohttp's client takes about 0.2 ms of processor time for each request. Most of that is spent on what these requests do
not need: cookies, redirects, streams with flow control, timers per request, and multidicts.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from typing_extensions import override

from adapters.blob_storage.s3.answers import AnswerReader, SmallAnswer, SmallRequest

IDLE_SECONDS_MAX: Final = 12.0
"""Time for which an idle connection is kept, as by aiobotocore: stores close theirs after 15 s or more."""


class StaleConnectionError(ConnectionError):
    """The store closed a kept connection before it answered anything; another connection may be used at once."""


class StoreConnection(asyncio.Protocol):
    """A kept connection, for one request at a time.

    One timer watches the whole life of the connection: the time of a request, the time without data, and the time
    without a request.

    Args:
        read_seconds: maximum time without data during a request.
        on_free: called when the connection can send the next request.
        on_lost: called once, when the connection is closed.
    """

    def __init__(
        self,
        read_seconds: float,
        *,
        on_free: Callable[["StoreConnection"], None],
        on_lost: Callable[["StoreConnection"], None],
    ) -> None:
        self._read_seconds = read_seconds
        self._on_free = on_free
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._request: SmallRequest | None = None
        self._waiting: asyncio.Future[SmallAnswer] | None = None
        self._reader = AnswerReader()
        self._is_reused = False
        self._began_at = self._heard_at = self._loop.time()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a transport of streams is needed")
        self._transport = transport
        self._watch()

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed."""
        return self._transport is None

    async def exchange(self, request: SmallRequest) -> SmallAnswer:
        """Send a request on a free connection and return the answer.

        Raises:
            StaleConnectionError: the connection was kept from an earlier request, and the store has closed it.
            TimeoutError: the answer takes too long.
            OSError: the connection broke, or the answer is not HTTP.
        """
        if self._transport is None or self._transport.is_closing():
            raise StaleConnectionError("the store has closed the connection")
        self._request = request
        self._reader = AnswerReader()
        waiting: asyncio.Future[SmallAnswer] = self._loop.create_future()
        self._waiting = waiting
        self._began_at = self._heard_at = self._loop.time()
        self._transport.write(request.data)
        try:
            return await waiting
        except BaseException:
            # Without an answer to this request, the connection cannot serve another one. If the answer has arrived, it
            # may serve one already.
            if self._waiting is waiting:
                self.abort()
            raise

    @override
    def data_received(self, data: bytes) -> None:
        """Read the answer, or close a connection on which the store sends without a request."""
        request, waiting = self._request, self._waiting
        if request is None or waiting is None or waiting.done():
            self.abort()
            return
        self._heard_at = self._loop.time()
        try:
            answer = self._reader.feed(data, request)
        except ValueError as error:
            waiting.set_exception(OSError(f"the store's answer is not valid HTTP: {error}"))
            self.abort()
            return
        if answer is not None:
            self._complete(answer, waiting)

    def _complete(self, answer: SmallAnswer, waiting: "asyncio.Future[SmallAnswer]") -> None:
        self._request = self._waiting = None
        self._is_reused = True
        if self._reader.keeps_alive and self._transport is not None and not self._transport.is_closing():
            self._on_free(self)
        else:
            self.abort()
        waiting.set_result(answer)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """End the request under way: with its content, if only the end of the connection marks the end of that."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        request, waiting = self._request, self._waiting
        self._request = self._waiting = None
        self._on_lost(self)
        if request is None or waiting is None or waiting.done():
            return
        answer = self._reader.end() if exc is None else None
        if answer is not None:
            waiting.set_result(answer)
        elif self._is_reused and not self._reader.has_begun:
            waiting.set_exception(StaleConnectionError("the store has closed the connection"))
        else:
            waiting.set_exception(ConnectionResetError("the store closed the connection during an answer"))

    def abort(self) -> None:
        """Close the connection at once; a request under way fails."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionAbortedError("the connection was closed"))
        if self._transport is not None:
            self._transport.abort()

    def _watch(self) -> None:
        """End what takes too long, and look again when the next limit is reached."""
        now = self._loop.time()
        if self._request is None or self._waiting is None:
            due = self._heard_at + IDLE_SECONDS_MAX
        else:
            due = min(self._heard_at + self._read_seconds, self._began_at + self._request.seconds)
        if due > now:
            # A request may begin at any time, and its limits are these at least.
            self._timer = self._loop.call_at(min(due, now + self._read_seconds), self._watch)
            return
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(TimeoutError("the store did not answer in time"))
        self.abort()
