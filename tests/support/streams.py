"""Helpers for streams of bytes and names."""

import random
from collections.abc import AsyncIterable
from functools import lru_cache
from typing import TypeVar

from core.ports.blob_storage import BlobStorage
from core.ports.staging import StagingStorage

T = TypeVar("T")


@lru_cache(maxsize=4)
def payload(size: int, seed: int = 0) -> bytes:
    """Return pseudo-random bytes, which are not valid text and do not repeat."""
    return random.Random(seed).randbytes(size)


async def collect(items: AsyncIterable[T]) -> list[T]:
    return [item async for item in items]


async def read_stream(storage: BlobStorage, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
    async with storage.open_reader(key, offset=offset, length=length) as reader:
        return b"".join([piece async for piece in reader])


async def stage(storage: StagingStorage, key: str, *chunks: bytes, resume: bool = False) -> int:
    """Append `chunks` in a separate writer block; return the resulting size."""
    async with storage.open_writer(key, resume=resume) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        return writer.size


async def commit(storage: StagingStorage, key: str, target: str) -> None:
    """Commit the bytes staged at `key`, in a separate writer block."""
    async with storage.open_writer(key, resume=True) as writer:
        await writer.commit(target)
