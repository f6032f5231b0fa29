"""The threads in which calls that may block on a disk run."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class BlockingCalls:
    """A bounded pool of threads; one per adapter, used between `open` and `aclose`."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._executor: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Begin; threads start when they are first needed."""
        self._executor = ThreadPoolExecutor(self._threads_max, thread_name_prefix="blob-storage")

    async def aclose(self) -> None:
        """Wait for the calls that are running, and end the threads."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread and return what it returns.

        A cancelled caller leaves only after the call has ended, or was never begun: whoever uses the same
        file or lock next meets no thread that still works on it.
        """
        if self._executor is None:
            raise RuntimeError("the storage is used outside of its context")
        call = self._executor.submit(function, *args, **kwargs)
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            await _outlast(call)
            raise


async def _outlast(call: "Future[T]") -> None:
    """Wait for the end of a running call, however often the waiting task is cancelled."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Called at once, in this thread, if the call has ended already.
    call.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError:
            # `run` raises the first cancellation when the call has ended; one more changes nothing.
            continue
