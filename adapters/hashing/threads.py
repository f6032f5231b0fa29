"""Threads that hash, off the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


class HashingThreads:
    """Runs hashing in threads; hashing releases the interpreter lock. One per process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="hashing")
        self._under_way = 0
        self._helper = _Helper()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        """Start `function(*arguments)` at once and return a future for its result."""
        self._under_way += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        running.add_done_callback(self._end)
        return running

    def _end(self, _running: "asyncio.Future[Any]") -> None:
        self._under_way -= 1

    def beside(self, function: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
        """Start `function(*arguments)` beside the calling thread, which is one of these; return how to wait for it.

        While other calls are under way, this calls `function` itself: they need the processors, and two threads for one
        body take more processor time than one.
        """
        if self._under_way > 1 or not self._helper.begin(function, arguments):
            function(*arguments)
            return _nothing
        return self._helper.wait


class _Helper:
    """A thread that makes one call at a time for another thread, in a third of the processor time of an executor."""

    def __init__(self) -> None:
        self._is_used, self._begun, self._ended = threading.Lock(), threading.Lock(), threading.Lock()
        self._begun.acquire()
        self._ended.acquire()
        self._call: Callable[[], Any] = _nothing
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
        """Start a call, unless one is under way; return whether it was started. `wait` must follow."""
        if not self._is_used.acquire(blocking=False):
            return False
        if self._thread is None:
            # A daemon thread, since it waits for calls until the process ends.
            self._thread = threading.Thread(target=self._work, name="hashing-beside", daemon=True)
            self._thread.start()
        self._call = partial(function, *arguments)
        self._begun.release()
        return True

    def wait(self) -> None:
        """Wait for the end of the call; raise its error."""
        self._ended.acquire()
        error, self._error, self._call = self._error, None, _nothing
        self._is_used.release()
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            self._begun.acquire()
            try:
                self._call()
            except BaseException as error:  # noqa: BLE001 - `wait` raises it
                self._error = error
            self._ended.release()


def _nothing() -> None:
    """Do nothing."""
