"""Threads for calls that may block on a disk.

This replaces `concurrent.futures`: its futures, and asyncio's wrappers around them, take up to three times the
processor time of this implementation, and pushing an image of three layers needs ten hops to a thread. `queue` is not
used either: each `get` of a `SimpleQueue` wakes another waiting thread, which finds nothing.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLOSED: Final = -1


class _Call:
    """One call on its way to a thread and back."""

    __slots__ = ("_tokens", "arguments", "error", "function", "is_over", "keywords", "over_event", "result", "waiting")

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        waiting: "asyncio.Future[None]",
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.keywords = keywords
        self.waiting = waiting
        self.over_event: asyncio.Event | None = None
        """Set when the call has ended; a cancelled caller waits for it."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False
        self._tokens = [None]

    def claim(self) -> bool:
        """Return True only once: to the thread that then makes the call, or to a caller that cancels it."""
        try:
            self._tokens.pop()
        except IndexError:
            return False
        return True


class BlockingCalls:
    """A bounded pool of threads; one per adapter, used between `open` and `aclose` by the tasks of one event loop."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: deque[_Call] = deque()
        self._idle: list[threading.Lock] = []
        """The locks that idle threads wait for, those that became idle last at the end."""
        self._is_rousing = False
        """Whether a thread was woken and does not run yet. When it takes a call, it wakes the next one if needed."""
        self._is_closing = False
        self._under_way = 0
        self._over: deque[_Call] = deque()
        self._is_waking = False
        self._waker = _CLOSED
        """Wakes the event loop: an event descriptor takes one call on each side, asyncio's pair of sockets three."""

    def open(self) -> None:
        """Start accepting calls; threads start on demand."""
        self._loop = asyncio.get_running_loop()
        self._is_closing = False
        self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._loop.add_reader(self._waker, self._deliver)

    async def aclose(self) -> None:
        """Wait for the calls that are running, and end the threads."""
        loop, self._loop = self._loop, None
        threads, self._threads = self._threads, []
        self._is_closing = True
        while self._idle:
            self._idle.pop().release()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        if loop is not None:
            self._deliver()
            loop.remove_reader(self._waker)
            os.close(self._waker)
            self._waker = _CLOSED

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread and return its result.

        If the caller is cancelled, this returns only after the call has ended or can no longer begin, so the next user
        of the same file or lock never meets a thread that still works on it.
        """
        if self._loop is None:
            raise RuntimeError("the storage is used outside of its context")
        call = _Call(function, args, kwargs, self._loop.create_future())
        self._under_way += 1
        if self._under_way > len(self._threads) < self._threads_max:
            self._start_thread()
        self._queue.append(call)
        self._rouse()
        try:
            await call.waiting
        except asyncio.CancelledError:
            if call.claim():
                self._under_way -= 1
            else:
                await _wait_until_over(call)
            raise
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def _start_thread(self) -> None:
        name = f"blob-storage-{len(self._threads)}"
        # A daemon thread, so that a process that must end at once does not wait for a disk.
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        wake = threading.Lock()
        wake.acquire()
        while True:
            if self._queue:
                self._take_call()
            elif self._is_closing:
                return
            else:
                self._rest(wake)

    def _rest(self, wake: threading.Lock) -> None:
        self._idle.append(wake)
        # What came before this thread counted as idle woke nobody.
        if self._queue or self._is_closing:
            with suppress(ValueError):
                self._idle.remove(wake)
                return
        wake.acquire()
        self._is_rousing = False

    def _rouse(self) -> None:
        """Wake a thread for a waiting call; called by the event loop and by threads, which may interrupt each other."""
        while self._queue and self._idle and not self._is_rousing:
            self._is_rousing = True
            try:
                self._idle.pop().release()
            except IndexError:
                self._is_rousing = False

    def _take_call(self) -> None:
        try:
            call = self._queue.popleft()
        except IndexError:
            return
        self._rouse()
        if not call.claim():
            return
        try:
            call.result = call.function(*call.arguments, **call.keywords)
        except BaseException as error:  # noqa: BLE001 - `run` raises it in the caller
            call.error = error
        self._over.append(call)
        # One wake-up serves all calls that end before the event loop runs. `_deliver` clears the flag before it reads
        # the queue, so it misses no call.
        if not self._is_waking:
            self._is_waking = True
            os.eventfd_write(self._waker, 1)

    def _deliver(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._waker)
        self._is_waking = False
        while self._over:
            call = self._over.popleft()
            self._under_way -= 1
            call.is_over = True
            if call.over_event is not None:
                call.over_event.set()
            if not call.waiting.done():
                call.waiting.set_result(None)


async def _wait_until_over(call: _Call) -> None:
    """Wait for the end of a call that has begun, even if the waiting task is cancelled several times."""
    call.over_event = asyncio.Event()
    while not call.is_over:
        try:
            await call.over_event.wait()
        except asyncio.CancelledError:
            # `run` raises the first cancellation when the call has ended; further ones have no effect.
            continue
