"""Statistics of notifications, for metrics: counted by this process, or read from the outbox."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """Statistics of an endpoint in one process. The values of all processes add up.

    Only the process that delivers reads the outbox. The others report 0 for its contents.
    """

    name: str
    queued: int
    """Undelivered events at the last check."""
    queued_bytes: int
    lag_seconds: float
    """Age of the oldest undelivered event at the last check."""
    dead: int
    """Dead letters at the last check."""
    dead_bytes: int
    recorded: int
    """Events that this process recorded for the endpoint."""
    delivered: int
    failures: int
    """Attempts without a response, or with a status other than 2xx or 3xx."""
    buried: int
    """Events that became dead letters."""
    dropped: int
    """Events and dead letters that were deleted because they took too many bytes or were too old."""
    statuses: Mapping[int, int]
    """Number of responses with each status."""
    is_down: bool
    """Whether the endpoint counts as down: at least `threshold` consecutive attempts have failed."""


@dataclass(slots=True)
class EndpointCounts:
    """Counters behind `EndpointStats`, updated by the recorder, delivery and upkeep."""

    queued: int = 0
    queued_bytes: int = 0
    lag_seconds: float = 0.0
    dead: int = 0
    dead_bytes: int = 0
    recorded: int = 0
    delivered: int = 0
    failures: int = 0
    buried: int = 0
    dropped: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    is_down: bool = False

    def forget_outbox(self) -> None:
        """Set the values read from the outbox to 0. Another process delivers now."""
        self.queued = self.queued_bytes = self.dead = self.dead_bytes = 0
        self.lag_seconds = 0.0
        self.is_down = False

    def snapshot(self, name: str) -> EndpointStats:
        """Return the current values."""
        return EndpointStats(
            name=name,
            queued=self.queued,
            queued_bytes=self.queued_bytes,
            lag_seconds=self.lag_seconds,
            dead=self.dead,
            dead_bytes=self.dead_bytes,
            recorded=self.recorded,
            delivered=self.delivered,
            failures=self.failures,
            buried=self.buried,
            dropped=self.dropped,
            statuses=dict(self.statuses),
            is_down=self.is_down,
        )
