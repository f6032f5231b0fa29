"""Leaving a server alone that does not answer."""

from collections.abc import Callable
from typing import Final

FAILURES_MAX: Final = 3
PAUSE_SECONDS: Final = 5.0


class CircuitBreaker:
    """Says whether a server is worth asking: not for a while after some failures in a row, then by one at a time.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._asks_again_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the server counts as away."""
        return self._failures >= FAILURES_MAX

    def allows(self) -> bool:
        """Whether to ask now; where the server counts as away, one in `PAUSE_SECONDS` may find out."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._asks_again_at:
            return False
        self._asks_again_at = now + PAUSE_SECONDS
        return True

    def succeed(self) -> None:
        """Take in that the server answered."""
        self._failures = 0

    def fail(self) -> None:
        """Take in that it did not."""
        self._failures += 1
        self._asks_again_at = self._clock() + PAUSE_SECONDS
