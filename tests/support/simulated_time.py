"""Simulated time that passes only when a test advances it, for code with injected `clock` and `sleep`."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.support.quiet import quiet

_START: Final = datetime(2026, 11, 24, tzinfo=UTC)


class SimulatedTime:
    """Monotonic clock and wall clock, with the tasks that sleep on them."""

    def __init__(self) -> None:
        self._seconds = 1000.0
        self._jumped = timedelta(0)
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def clock(self) -> float:
        """Return monotonic seconds."""
        return self._seconds

    def now(self) -> datetime:
        """Return the UTC time, which advances with the monotonic clock."""
        return _START + self._jumped + timedelta(seconds=self._seconds - 1000)

    def jump(self, time: timedelta) -> None:
        """Move the wall clock ahead; no time passes."""
        self._jumped += time

    def pass_seconds(self, seconds: float) -> None:
        """Advance the time without waking anything."""
        self._seconds += seconds

    async def sleep(self, seconds: float) -> None:
        """Suspend until the test has advanced the time by `seconds`."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._seconds + seconds, next(self._numbers), waiting))
        await waiting

    def until_next(self) -> float | None:
        """Return the seconds until the next sleeper wakes, or None without a sleeper."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._seconds if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Advance the time; wake each sleeper at its moment, and let all tasks run before the time advances further."""
        ends_at = self._seconds + seconds
        await quiet()
        while self._sleepers and self._sleepers[0][0] <= ends_at:
            wakes_at, _, waiting = heapq.heappop(self._sleepers)
            self._seconds = max(self._seconds, wakes_at)
            if not waiting.done():
                waiting.set_result(None)
            await quiet()
        self._seconds = ends_at
