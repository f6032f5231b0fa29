"""How fast a long job may go: requests and bytes per second, so that it leaves the store to those who serve."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a job may use of a store; None for as much as it likes."""

    requests_per_second: float | None = None
    bytes_per_second: float | None = None


class Budget:
    """Two buckets of tokens, one of requests and one of bytes; one per job, for any number of its tasks.

    Each bucket holds what may be used in one second, and is full at the start. Whoever takes more than there is waits
    until it would be there, in the order in which they came; so a job never goes faster than its rates over any two
    seconds, and one piece larger than a second's worth makes the next wait rather than never getting through.

    Args:
        rates: how much of each a second; a rate that is not given costs nothing to keep.
        clock: tells seconds, from any beginning; never goes back.
        sleep: waits so many seconds.
    """

    def __init__(self, rates: Rates, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._requests = _Bucket(rates.requests_per_second, clock)
        self._bytes = _Bucket(rates.bytes_per_second, clock)
        self._sleep = sleep

    async def take(self, *, requests: int = 1, size: int = 0) -> None:
        """Use so many requests and `size` bytes, as soon as that keeps to the rates; call it before the work."""
        seconds = max(self._requests.take(requests), self._bytes.take(size))
        if seconds > 0:
            await self._sleep(seconds)


class _Bucket:
    """Tokens may be owed: the level falls below zero by what was promised to those who wait."""

    def __init__(self, rate: float | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._level = rate or 0.0
        self._filled_at = clock()

    def take(self, count: int) -> float:
        """Take `count` tokens and return for how many seconds they are not there yet."""
        if not self._rate or count == 0:
            return 0.0
        now = self._clock()
        self._level = min(self._rate, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        self._level -= count
        return max(0.0, -self._level / self._rate)
