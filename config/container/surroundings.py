"""Clocks, ids and threads of the process, which the core receives as dependencies."""

import asyncio
import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable as CallableType
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

from core.model.digest import Hasher, HasherFactory


def utc_now() -> datetime:
    """Return the current time, UTC-aware."""
    return datetime.now(UTC)  # noqa: TID251 - the only wall clock; all other code receives it


def boot_clock() -> float:
    """Return monotonic seconds that, unlike those of `time.monotonic`, advance while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def new_id() -> str:
    """Return a new id for an upload session or an event."""
    return str(uuid.uuid4())


def entry_id() -> str:
    """Return a new id for an entry in the trash."""
    # Short enough to be read aloud; listings also show the time and the kind of an entry.
    return uuid.uuid4().hex[:16]


def process_name() -> str:
    """Return a random name of this process for the outbox."""
    return secrets.token_hex(4)


def owner_id() -> str:
    """Return a readable name of this process, unique among the processes of all replicas."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def duration(seconds: float) -> timedelta:
    """Return a number of seconds as a duration."""
    return timedelta(seconds=seconds)


def new_hasher(algorithm: str, state: bytes | None) -> Hasher:
    """Return a hasher. The first one prepares the process for uploads, which many servers never receive."""
    return _hashers()(algorithm, state)


@cache
def _hashers() -> HasherFactory:
    from adapters.hashing.resumable import hasher_factory  # noqa: PLC0415 - loads ctypes and libcrypto
    from config.container.heap import keep_freed_memory  # noqa: PLC0415 - loads ctypes

    keep_freed_memory()
    return hasher_factory()


class HashingThreads:
    """Hashes in threads, off the event loop; hashing releases the interpreter lock."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="hashing")
        self._under_way = 0
        self._helper = _Helper()

    def __call__(self, function: CallableType[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        """Start `function(*arguments)` at once and return a future for its result."""
        self._under_way += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        running.add_done_callback(self._end)
        return running

    def _end(self, _running: "asyncio.Future[Any]") -> None:
        self._under_way -= 1

    def beside(self, function: CallableType[..., Any], *arguments: Any) -> CallableType[[], None]:
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
        self._call: CallableType[[], Any] = _nothing
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self, function: CallableType[..., Any], arguments: tuple[Any, ...]) -> bool:
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
