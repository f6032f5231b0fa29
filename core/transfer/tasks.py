"""Concurrent work on the items of a stream that is never held in memory as a whole."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from core.concurrency import REQUESTS_AT_ONCE

T = TypeVar("T")


async def for_each(
    function: Callable[[T], Awaitable[object]], items: AsyncIterable[T], *, at_once: int = REQUESTS_AT_ONCE
) -> None:
    """Apply `function` to all items, at most `at_once` at a time. Takes an item only when it can be processed.

    Raises the first error itself (not a group), after cancelling the other calls.
    """
    slots = asyncio.Semaphore(at_once)

    async def work(item: T) -> None:
        try:
            await function(item)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for item in items:
                await slots.acquire()
                group.create_task(work(item))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def stream(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items as an async iterator, for `for_each`."""
    for item in items:
        yield item
