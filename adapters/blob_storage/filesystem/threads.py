"""The threads in which calls that may block on a disk run.

Not those of `concurrent.futures`: its futures, and asyncio's around them, take up to three times the processor time of
what is here, and pushing an image of three layers changes threads ten times.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Call:
    """One call on its way to a thread and back."""

    __slots__ = ("_tokens", "arguments", "error", "function", "is_over", "keywords", "outlasting", "result", "waiting")

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
        self.outlasting: asyncio.Event | None = None
        """What a caller that was cancelled waits for."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False
        self._tokens = [None]

    def claim(self) -> bool:
        """Decide about the call, once: a thread that it is made, or a caller that gave up that it is not."""
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
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._under_way = 0
        self._over: deque[_Call] = deque()
        self._is_waking = False

    def open(self) -> None:
        """Begin; threads start when they are first needed."""
        self._loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Wait for the calls that are running, and end the threads."""
        self._loop = None
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            await asyncio.to_thread(thread.join)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread and return what it returns.

        A cancelled caller leaves only after the call has ended, or was never begun: whoever uses the same
        file or lock next meets no thread that still works on it.
        """
        if self._loop is None:
            raise RuntimeError("the storage is used outside of its context")
        call = _Call(function, args, kwargs, self._loop.create_future())
        self._under_way += 1
        if self._under_way > len(self._threads) < self._threads_max:
            self._start_thread(self._loop)
        self._queue.put(call)
        try:
            await call.waiting
        except asyncio.CancelledError:
            if call.claim():
                self._under_way -= 1
            else:
                await _outlast(call)
            raise
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def _start_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        name = f"blob-storage-{len(self._threads)}"
        # A daemon: a process that is told to end at once waits for no disk.
        thread = threading.Thread(target=self._work, args=(loop,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (call := self._queue.get()) is not None:
            if not call.claim():
                continue
            try:
                call.result = call.function(*call.arguments, **call.keywords)
            except BaseException as error:  # noqa: BLE001 - it is raised where the call is waited for
                call.error = error
            self._over.append(call)
            # An idle thread holds on to nothing.
            del call
            # Once for all that end before the event loop looks. It lowers the flag first, so none is overlooked.
            if not self._is_waking:
                self._is_waking = True
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_waking = False
        while self._over:
            call = self._over.popleft()
            self._under_way -= 1
            call.is_over = True
            if call.outlasting is not None:
                call.outlasting.set()
            if not call.waiting.done():
                call.waiting.set_result(None)


async def _outlast(call: _Call) -> None:
    """Wait for the end of a call that has begun, however often the waiting task is cancelled."""
    call.outlasting = asyncio.Event()
    while not call.is_over:
        try:
            await call.outlasting.wait()
        except asyncio.CancelledError:
            # `run` raises the first cancellation when the call has ended; one more changes nothing.
            continue
