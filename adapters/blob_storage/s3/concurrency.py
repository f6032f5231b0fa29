"""Several requests at once, with an upper limit and one error."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def run_all(jobs: Iterable[Coroutine[Any, Any, T]], *, limit: int = 16) -> list[T]:
    """Run all jobs, at most `limit` at a time, and return their results in order.

    The first error cancels the others and is raised as itself: callers know the port's errors, not groups of them.
    """
    places = asyncio.Semaphore(limit)

    async def run(job: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await job

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(job)) for job in jobs]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]
