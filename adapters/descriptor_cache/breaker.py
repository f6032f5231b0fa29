"""Circuit breaker for a server that does not answer."""

from collections.abc import Callable
from typing import Final

FAILURES_MAX: Final = 3
PAUSE_SECONDS: Final = 5.0


class CircuitBreaker:
    """Decides whether to send requests to a server: after some consecutive failures, only one per pause.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._asks_again_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the server is considered down."""
        return self._failures >= FAILURES_MAX

    def allows(self) -> bool:
        """Whether to send a request now; if the server is considered down, one request per `PAUSE_SECONDS`."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._asks_again_at:
            return False
        self._asks_again_at = now + PAUSE_SECONDS
        return True

    def succeed(self) -> None:
        """Record that the server answered."""
        self._failures = 0

    def fail(self) -> None:
        """Record that the server did not answer."""
        self._failures += 1
        self._asks_again_at = self._clock() + PAUSE_SECONDS
