"""Single flight: of several tasks that want the same at once, one works and all receive its result."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, Generic, TypeVar

from core.errors import TooManyRequestsError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_CALLS_MAX: Final = 1_000
"""A call goes on when its clients leave, so that the number of connections is no limit."""
_RETRY_SECONDS: Final = 1


class Flights(Generic[K, T]):
    """The running calls of one kind, by what they look for. Belongs to one event loop.

    Args:
        calls_max: number of calls at a time.
    """

    def __init__(self, *, calls_max: int = _CALLS_MAX) -> None:
        self._calls_max = calls_max
        self._running: dict[K, asyncio.Task[T]] = {}

    async def run(self, key: K, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `function`, or of the call with the same key that is running already.

        The call runs in a task of its own: it goes on if this caller is cancelled.

        Raises:
            TooManyRequestsError: too many calls are running.
        """
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= self._calls_max:
                raise TooManyRequestsError(_RETRY_SECONDS)
            task = asyncio.get_running_loop().create_task(function())
            self._running[key] = task
            # Called before the callers resume, so none of them can join a call that has ended.
            task.add_done_callback(lambda _ended: self._running.pop(key))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel the running calls, and wait until they have ended. For the end of the process."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
