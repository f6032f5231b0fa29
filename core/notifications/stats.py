"""The numbers of notifications, for metrics: counted by this process, or seen by it in the outbox."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """What a process knows of an endpoint; the numbers of all processes add up.

    Only the process that delivers looks into the outbox: the others say nought for what lies there.
    """

    name: str
    queued: int
    """Events that are still to be delivered, as of the last look."""
    queued_bytes: int
    lag_seconds: float
    """How old the oldest of them was then."""
    dead: int
    """Dead letters, as of the last look."""
    dead_bytes: int
    recorded: int
    """Events that this process recorded for it."""
    delivered: int
    failures: int
    """Tries that were not answered, or not with 2xx or 3xx."""
    buried: int
    """Events that became dead letters."""
    dropped: int
    """Events and dead letters that were given up for good, because there were too many bytes or they were too old."""
    statuses: Mapping[int, int]
    """How often each status was answered."""
    is_down: bool
    """Whether its last tries, as many as its threshold or more, all failed."""


@dataclass(slots=True)
class EndpointCounts:
    """The numbers behind `EndpointStats`, counted up by the recorder and the courier of one endpoint."""

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
        """Say nought for what lies in the outbox, which another process looks after now."""
        self.queued = self.queued_bytes = self.dead = self.dead_bytes = 0
        self.lag_seconds = 0.0
        self.is_down = False

    def snapshot(self, name: str) -> EndpointStats:
        """Return the numbers as they are now."""
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
