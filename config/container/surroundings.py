"""Clocks, ids and threads of the process, which the core receives as dependencies."""

import asyncio
import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable as CallableType
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
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
    """Return a hasher. The first one loads the library of hashers, which a server that receives nothing never needs."""
    return _hashers()(algorithm, state)


@cache
def _hashers() -> HasherFactory:
    from adapters.hashing.resumable import hasher_factory  # noqa: PLC0415 - loads ctypes and libcrypto

    return hasher_factory()


class HashingThreads:
    """Hashes in a thread pool, off the event loop; hashing releases the interpreter lock."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="hashing")

    def __call__(self, function: CallableType[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        """Start `function(*arguments)` at once and return a future for its result."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
