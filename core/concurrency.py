"""Bounded concurrency for many small storage requests, and prompt closing of listings."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeVar

from core.typing import override

T = TypeVar("T")
R = TypeVar("R")

REQUESTS_AT_ONCE = 16
"""Concurrent requests of one operation; object stores answer each in 10 to 50 ms, however many are sent."""


async def map_bounded(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], *, at_once: int = REQUESTS_AT_ONCE
) -> list[R]:
    """Apply `function` to all items, at most `at_once` at a time; return the results in the order of the items.

    With `at_once=1` this needs no tasks. Raises the first error itself (not an exception group), after the other calls
    were cancelled.
    """
    work = list(enumerate(items))
    if len(work) <= 1 or at_once == 1:
        return [await function(item) for _, item in work]
    results: dict[int, R] = {}
    # All workers share this iterator, so each item is processed once.
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


async def side_by_side(call: Awaitable[T], other: Coroutine[Any, Any, R]) -> tuple[T, R]:
    """Await two calls at once; return both results.

    Raises the error of `call`, and then `other` is cancelled; else that of `other`.
    """
    beside = asyncio.create_task(other)
    try:
        result = await call
    except BaseException:
        beside.cancel()
        beside.add_done_callback(retrieve_error)
        raise
    return result, await beside


async def await_thread(call: Awaitable[None], *, stop: Callable[[], None] = lambda: None) -> None:
    """Wait for a call that runs in a thread; on cancellation, call `stop` and wait until the thread has ended.

    The caller can then safely release the resources that the thread used.
    """
    running = asyncio.ensure_future(call)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            # Retrieve the exception to avoid a warning; the caller gets the cancellation.
            running.exception()
        raise


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


class closing(AbstractAsyncContextManager[AsyncIterator[T]]):  # noqa: N801 - as contextlib.aclosing
    """Close an iterator at the end of the block, since an unfinished listing may hold a folder or a connection open.

    A class: a generator would itself be closed by the end of an event loop, at the same time as the iterator.
    """

    def __init__(self, iterator: AsyncIterator[T]) -> None:
        self._iterator = iterator

    @override
    async def __aenter__(self) -> AsyncIterator[T]:
        return self._iterator

    @override
    async def __aexit__(self, *_: object) -> None:
        if isinstance(self._iterator, AsyncGenerator):  # pragma: no branch - every adapter's listings are
            await self._iterator.aclose()


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of `size` items; the last one may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def retrieve_error(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a task that ended, so that asyncio does not report it if all callers were cancelled."""
    with suppress(asyncio.CancelledError):
        task.exception()
