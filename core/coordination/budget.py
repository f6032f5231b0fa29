"""Rate limits for long-running jobs, in requests and bytes per second, so that jobs do not slow down serving."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from core.concurrency import closing
from core.ports.blob_storage import KEYS_PER_REQUEST

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Limits of a job; None means unlimited."""

    requests_per_second: float | None = None
    bytes_per_second: float | None = None


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate` tokens a second; full at the start.

    The level is negative while callers that borrowed tokens wait for them.
    """

    __slots__ = ("_burst", "_filled_at", "_level", "_rate")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._filled_at = now

    def take(self, count: float, now: float, *, borrows: bool = False) -> float:
        """Take `count` tokens and return 0. If there are fewer, return the seconds until there are enough.

        In that case nothing is taken, unless the caller `borrows`: then it must wait for these seconds.
        """
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        wait_seconds = max(0.0, (count - self._level) / self._rate)
        if borrows or not wait_seconds:
            self._level -= count
        return wait_seconds


class Budget:
    """Token buckets for requests and bytes. One per job, shared by its tasks.

    Each bucket holds one second's worth of tokens and is full at the start. A caller that takes more than the bucket
    holds waits until the tokens have accumulated; callers are served in order of arrival. So over any two seconds a job
    does not exceed its rates. A single request may exceed one second's worth; it waits longer, as do the requests after
    it.

    Args:
        rates: tokens per second; an absent rate means no limit.
        clock: monotonic seconds from any origin.
        sleep: suspends for a number of seconds.
    """

    def __init__(self, rates: Rates, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._requests = _bucket(rates.requests_per_second, clock())
        self._bytes = _bucket(rates.bytes_per_second, clock())
        self._clock = clock
        self._sleep = sleep

    async def take(self, *, requests: int = 1, size: int = 0) -> None:
        """Take tokens for requests and `size` bytes, and wait until the rates allow them. Call before the work."""
        seconds = 0.0
        for bucket, count in ((self._requests, requests), (self._bytes, size)):
            if bucket is not None and count:
                seconds = max(seconds, bucket.take(count, self._clock(), borrows=True))
        if seconds > 0:
            await self._sleep(seconds)

    async def pace(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield the items of a listing, and take tokens for the requests that an object store needs for it."""
        await self.take()
        count = 0
        # An abandoned listing would keep a folder or a connection open.
        async with closing(items) as listed:
            async for item in listed:
                if count and count % KEYS_PER_REQUEST == 0:
                    await self.take()
                count += 1
                yield item


def _bucket(rate: float | None, now: float) -> TokenBucket | None:
    return TokenBucket(rate=rate, burst=rate, now=now) if rate else None
