"""What the core is given of the process that it runs in: clocks, names, threads."""

import asyncio
import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable as CallableType
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)  # noqa: TID251 - the one clock that the others are given


def boot_clock() -> float:
    """Tell seconds that go on while the machine is suspended, as those of `time.monotonic` do not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def new_id() -> str:
    """Make the id of an upload session or an event."""
    return str(uuid.uuid4())


def entry_id() -> str:
    """Make the id of an entry in the trash."""
    # Short enough to be read aloud; the time and the kind stand beside it.
    return uuid.uuid4().hex[:16]


def process_name() -> str:
    """Name this process in the outbox."""
    return secrets.token_hex(4)


def owner_id() -> str:
    """Name this process among those of all replicas, for people too."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def duration(seconds: float) -> timedelta:
    """Return a number of seconds as a duration."""
    return timedelta(seconds=seconds)


class HashingThreads:
    """Hashes off the event loop, in as many threads as there are cores: hashing releases the interpreter lock."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="hashing")

    def __call__(self, function: CallableType[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        """Start `function(*arguments)` at once and return what to await for its result."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
