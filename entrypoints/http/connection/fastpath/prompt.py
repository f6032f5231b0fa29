"""Requests that are answered in the call that receives them.

aiohttp gives each request a task. That task starts in the next turn of the event loop, and wakes the task of the
connection in the turn after: a sixth of the processor time of a manifest. Here a request on an idle connection runs as
soon as it has arrived, up to the point where it first has to wait; a manifest or a small blob from the page cache never
has to. The task of the connection continues the request from that point.
"""

import asyncio
from asyncio import tasks
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _PAYLOAD_ACCESS_ERROR, ERROR, RequestHandler, _ErrInfo
from typing_extensions import override

T = TypeVar("T")

# Third-party tasks call these (asyncio's documentation, "Extending").
_enter_task: Final = tasks._enter_task  # noqa: SLF001
_leave_task: Final = tasks._leave_task  # noqa: SLF001


class Call(Generic[T]):
    """A coroutine in a context of its own, which may begin before the task that awaits it runs.

    Args:
        coroutine: a coroutine that has not started.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._context = copy_context()
        self._awaited: Any = None
        """The future that the coroutine waits for, or None if it waits for the next turn of the event loop."""
        self._result: T
        self._error: BaseException | None = None
        self.is_complete = False
        """Whether the coroutine has ended, with a result or an error."""

    @property
    def has_result(self) -> bool:
        """Whether the coroutine has ended without an error."""
        return self.is_complete and self._error is None

    def begin(self) -> None:
        """Run the coroutine up to the point where it first waits."""
        self._step(None)

    def cancel(self) -> None:
        """Cancel the awaited future, or else the coroutine itself, as tasks do."""
        if not self.is_complete and (self._awaited is None or not self._awaited.cancel()):
            self._step(asyncio.CancelledError())

    def __await__(self) -> Generator[Any, None, T]:
        """Continue the coroutine in the running task, and return its result."""
        while not self.is_complete:
            raised: BaseException | None = None
            try:
                yield self._awaited
            except BaseException as error:  # noqa: BLE001 - the coroutine's own affair
                raised = error
            self._step(raised)
        return self.result()

    def result(self) -> T:
        """Return the result of a complete call, or raise its error."""
        if self._error is None:
            return self._result
        try:
            raise self._error
        finally:
            # The error refers to the frames, which refer to this object.
            self._error = None

    def _step(self, error: BaseException | None) -> None:
        try:
            if error is None:
                self._awaited = self._context.run(self._coroutine.send, None)
            else:
                self._awaited = self._context.run(self._coroutine.throw, error)
        except StopIteration as end:
            self.is_complete, self._result = True, end.value
        except BaseException as raised:  # noqa: BLE001 - raised by `result`
            self.is_complete, self._error = True, raised


class Response(Protocol):
    """A response that was sent."""

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open."""


@dataclass(slots=True)
class Exchange:
    """A request that is being answered."""

    call: Call[tuple[Response, bool]]
    """Returns the response, and whether the client has gone."""
    payload: StreamReader = EMPTY_PAYLOAD
    request: web.BaseRequest | None = None
    head: bytes | None = None
    """The bytes of the head; None if they did not arrive alone."""

    def end(self) -> None:
        """Release the task of the request, as aiohttp does."""
        if self.request is not None:
            self.request._task = None  # type: ignore[assignment]  # noqa: SLF001


class PromptProtocol(RequestHandler):
    """One connection, whose requests share its task."""

    __slots__ = ("_exchange",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._exchange: Exchange | None = None
        """A request that has begun and for which the task of the connection is to wake."""

    @override
    def data_received(self, data: bytes) -> None:
        """Parse data; `answer` is to be called next."""
        # aiohttp would wake the task of the connection.
        waiter, self._waiter = self._waiter, None
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter

    def answer(self) -> None:
        """Answer a request that has arrived on an idle connection, or wake the task of the connection to do so."""
        if not self._messages or self._waiter is None or self._waiter.done():
            return
        message, payload = self._messages[0]
        if payload is EMPTY_PAYLOAD and isinstance(message, RawRequestMessage) and self.may_begin(messages=1):
            self.begin(self.next_exchange())
        else:
            self._waiter.set_result(None)

    def may_begin(self, *, messages: int) -> bool:
        """Return whether the connection is idle, and this many requests wait."""
        return (
            self._waiter is not None
            and not self._waiter.done()
            and len(self._messages) == messages
            and self._task_handler is not None
            and asyncio.current_task(self._loop) is None
        )

    def begin(self, exchange: Exchange) -> bool:
        """Begin an exchange on an idle connection; return whether it is over, and the connection still idle."""
        waiter, task = self._waiter, self._task_handler
        if waiter is None or task is None:
            raise RuntimeError("the connection is busy")
        # To the handler, the connection is as busy as in its task.
        self._waiter = None
        _enter_task(self._loop, task)
        try:
            exchange.call.begin()
        finally:
            _leave_task(self._loop, task)
        if not exchange.call.has_result or not self._settle(exchange):
            self._exchange = exchange
            waiter.set_result(None)
            return False
        self._waiter = waiter
        if self._messages:
            waiter.set_result(None)
        return True

    def _settle(self, exchange: Exchange) -> bool:
        """Finish an exchange with a result if another request may follow; return whether it may."""
        response, is_gone = exchange.call.result()
        if is_gone or not response.keep_alive or self._close or self._force_close:
            return False
        self.settled(exchange, response)
        exchange.end()
        self._stay()
        return True

    def settled(self, exchange: Exchange, response: Response) -> None:
        """Called after a response was sent on a connection that stays open."""

    def _stay(self) -> None:
        """Wait for the next request, no longer than the time for idle connections."""
        self._keepalive = True
        close_time = self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)

    def next_exchange(self) -> Exchange:
        """Return an exchange with the first waiting request."""
        message, payload = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        begun_at = self._loop.time() if self._logging_enabled else None
        if self._manager is None or self._request_factory is None or self._request_handler is None:
            raise ConnectionResetError("the connection was closed before the request began")
        self._manager.requests_count += 1
        handler = self._request_handler
        if isinstance(message, _ErrInfo):
            handler = self._make_error_handler(message)
            message = ERROR
        task: Any = self._task_handler or asyncio.current_task(self._loop)
        request = self._request_factory(message, payload, self, StreamWriter(self, self._loop), task)
        return Exchange(Call(self._handle_request(request, begun_at, handler)), payload, request)

    @override
    async def start(self) -> None:
        """Answer the requests of the connection one after another, as aiohttp does, but without a task for each."""
        is_open = True
        while is_open and not self._force_close:
            if self._exchange is None and not self._messages:
                await self._wait_for_request()
            exchange, self._exchange = self._exchange, None
            if exchange is None:
                exchange = self.next_exchange()
                exchange.call.begin()
            is_open = await self._continue(exchange)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _continue(self, exchange: Exchange) -> bool:
        """Continue an exchange to its end; return whether another request may follow."""
        try:
            return await self._finish(exchange)
        except ConnectionError:
            return False
        except Exception as error:  # noqa: BLE001 - as aiohttp does
            self.log_exception("Unhandled exception", exc_info=error)
            self.force_close()
            return False
        except BaseException:
            self.force_close()
            raise
        finally:
            exchange.end()

    async def _wait_for_request(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            if self._exchange is None:
                raise
            # The request has begun, and was cancelled before this task could continue it.
            self._exchange.call.cancel()
        finally:
            self._waiter = None

    async def _finish(self, exchange: Exchange) -> bool:
        response, is_gone = await exchange.call
        if is_gone:
            return False
        self._keepalive = bool(response.keep_alive)
        if not exchange.payload.is_eof():
            await self._discard(exchange.payload)
        exchange.payload.set_exception(_PAYLOAD_ACCESS_ERROR)
        if not self._keepalive or self._close or self._force_close:
            return False
        self.settled(exchange, response)
        self._stay()
        return True

    async def _discard(self, payload: StreamReader) -> None:
        """Read the rest of a body for a while, so that the client receives the response."""
        if not self._force_close and self._lingering_time:
            try:
                async with asyncio.timeout(self._lingering_time):
                    while not payload.is_eof():
                        await payload.readany()
            except TimeoutError:
                pass
            except asyncio.CancelledError:
                # Also the body of a request that a shutdown has ended raises this error.
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
        if not payload.is_eof() and not self._force_close:
            self.close()
