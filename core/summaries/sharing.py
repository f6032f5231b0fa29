"""Sharing of looks at the store: tasks that wait for the same look receive one result, which is never too old."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from core.concurrency import retrieve_error

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SharedLooks(Generic[K, T]):
    """The looks of one kind, by key. Belongs to one event loop.

    A look that has begun may miss a change that was made before a call, so a call shares only a look that begins later.
    For each key, one look runs and at most one waits.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, asyncio.Task[T]] = {}
        self._running: dict[K, asyncio.Task[T]] = {}

    async def run(self, key: K, look: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `look`, which begins after this call, or of another task's look with the same key.

        The look runs in a task of its own: it goes on if this caller is cancelled.
        """
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = asyncio.get_running_loop().create_task(self._run(key, look))
            task.add_done_callback(retrieve_error)
        return await asyncio.shield(task)

    async def _run(self, key: K, look: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if (earlier := self._running.get(key)) is not None:
            await asyncio.wait([earlier])
        self._running[key] = self._waiting.pop(key)
        try:
            return await look()
        finally:
            del self._running[key]
