"""Clocks, ids and hashers of the process, which the core receives as dependencies."""

import os
import secrets
import socket
import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache

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
