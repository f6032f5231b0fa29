"""Doing many small storage requests side by side, with a bound, and leaving listings early."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

REQUESTS_AT_ONCE = 16
"""How many requests one operation has under way: object stores answer in 10 to 50 ms whatever the number."""


async def map_bounded(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], *, at_once: int = REQUESTS_AT_ONCE
) -> list[R]:
    """Apply `function` to all items, at most `at_once` at a time; results in the order of the items.

    Raises the first error as it is (not in a group), after the other calls have been cancelled.
    """
    work = list(enumerate(items))
    if len(work) <= 1:
        return [await function(item) for _, item in work]
    results: dict[int, R] = {}
    remaining = iter(work)

    async def worker() -> None:
        for position, item in remaining:
            results[position] = await function(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(work), at_once)):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [results[position] for position, _ in work]


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close a listing that is left before its end, at once: it may hold a folder or a connection."""
    try:
        yield iterator
    finally:
        if isinstance(iterator, AsyncGenerator):  # pragma: no branch - every adapter's listings are
            await iterator.aclose()


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in order, `size` at a time, the last ones fewer."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
