"""Look-ups of objects."""

from typing import Final

from core.concurrency import REQUESTS_AT_ONCE
from core.errors import ObjectNotFoundError
from core.ports.blob_storage import BlobStorage, ObjectStat

_FEW: Final = 16
"""So many reads from a disk, one after the other, take no longer than a request that waits for a busy disk."""


def reads_at_once(storage: BlobStorage, count: int) -> int:
    """Return how many of `count` small reads to make at once, since a task costs more than most reads of a folder."""
    return 1 if storage.answers_at_once and count <= _FEW else REQUESTS_AT_ONCE


async def find(storage: BlobStorage, key: str) -> ObjectStat | None:
    """Return size and time of an object, or None if there is none. One storage request."""
    try:
        return await storage.stat(key)
    except ObjectNotFoundError:
        return None
