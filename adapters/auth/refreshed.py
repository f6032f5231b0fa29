"""A value of another server that is fetched again as it ages, and used on while the server is down."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from core.errors import IssuerUnavailableError

T = TypeVar("T")

RETRY_SECONDS: Final = 60.0
"""The least time between the beginnings of two attempts to fetch."""
RETRY_EMPTY_SECONDS: Final = 10.0
"""The same, while there is no value at all."""
REFRESH_SECONDS: Final = 900.0
"""Age from which the value is fetched in the background."""
WAIT_SECONDS: Final = 3600.0
"""Age from which a caller waits for a new value, unless the last attempt failed."""
KEEP_SECONDS: Final = 24 * 3600.0
"""Age from which the value is not used any more."""

_logger = logging.getLogger(__name__)


class Refreshed(Generic[T]):
    """The last fetched value; belongs to one event loop, and serves any number of concurrent callers.

    All callers share one attempt, and the time between two attempts is bounded, whatever the callers ask for.

    Args:
        fetch: returns a new value, in bounded time.
        clock: monotonic seconds.
        name: a description of the value for the log: `the keys of https://issuer.example`.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, clock: Callable[[], float], name: str) -> None:
        self._fetch = fetch
        self._clock = clock
        self._name = name
        self._value: T | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._has_failed = False
        self._running: asyncio.Task[None] | None = None

    async def current(self) -> T:
        """Return the value, at most `KEEP_SECONDS` old.

        Raises:
            IssuerUnavailableError: there is none, and it cannot be fetched now.
        """
        age = self._clock() - self._fetched_at
        if age < REFRESH_SECONDS and self._value is not None:
            return self._value
        attempt = self._attempt()
        if attempt is not None and (age >= KEEP_SECONDS or (age >= WAIT_SECONDS and not self._has_failed)):
            await asyncio.shield(attempt)
        return self._usable()

    async def renewed(self) -> T:
        """Return a value fetched now, or the current one if the last attempt began less than a minute ago.

        Raises:
            IssuerUnavailableError: there is no value, and it cannot be fetched now.
        """
        attempt = self._attempt()
        if attempt is not None:
            await asyncio.shield(attempt)
        return self._usable()

    async def aclose(self) -> None:
        """End an attempt that runs."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])

    def _usable(self) -> T:
        if self._value is None or self._clock() - self._fetched_at >= KEEP_SECONDS:
            raise IssuerUnavailableError(f"cannot fetch {self._name}")
        return self._value

    def _attempt(self) -> asyncio.Task[None] | None:
        """Return the attempt that runs, or a new one; None if it is too early for a new one."""
        if self._running is None:
            pause = RETRY_EMPTY_SECONDS if self._value is None else RETRY_SECONDS
            now = self._clock()
            if now - self._tried_at < pause:
                return None
            self._tried_at = now
            self._running = asyncio.create_task(self._run())
        return self._running

    async def _run(self) -> None:
        try:
            value = await self._fetch()
        except IssuerUnavailableError as error:
            self._has_failed = True
            _logger.warning("cannot fetch %s: %s", self._name, error)
        else:
            self._value, self._fetched_at, self._has_failed = value, self._clock(), False
        finally:
            self._running = None
