"""Time that passes only when a test says so, for code that is given its `clock` and its `sleep`."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.support.quiet import quiet

_START: Final = datetime(2026, 11, 24, tzinfo=UTC)


class SimulatedTime:
    """A monotonic clock, a wall clock beside it, and who sleeps on them."""

    def __init__(self) -> None:
        self._seconds = 1000.0
        self._jumped = timedelta(0)
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def clock(self) -> float:
        """Monotonic seconds."""
        return self._seconds

    def now(self) -> datetime:
        """UTC, moving with the clock."""
        return _START + self._jumped + timedelta(seconds=self._seconds - 1000)

    def jump(self, time: timedelta) -> None:
        """Have the wall clock jump ahead; no time passes."""
        self._jumped += time

    async def sleep(self, seconds: float) -> None:
        """Suspend until the test has let so many seconds pass."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._seconds + seconds, next(self._numbers), waiting))
        await waiting

    def until_next(self) -> float | None:
        """Return in how many seconds somebody's sleep ends, or None where nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._seconds if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its moment and letting all run before time goes on."""
        ends_at = self._seconds + seconds
        await quiet()
        while self._sleepers and self._sleepers[0][0] <= ends_at:
            wakes_at, _, waiting = heapq.heappop(self._sleepers)
            self._seconds = max(self._seconds, wakes_at)
            if not waiting.done():
                waiting.set_result(None)
            await quiet()
        self._seconds = ends_at
