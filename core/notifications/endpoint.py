"""Endpoint: a receiver of events with its filters and retry settings, and its statistics in this process."""

from collections import Counter
from dataclasses import dataclass, field

from core.model.events import EventAction
from core.ports.event_receiver import EventReceiver


@dataclass(frozen=True, slots=True, kw_only=True)
class EventEndpoint:
    """One receiver of events, as an operator has configured it."""

    name: str
    """Unique. Also names the queue: a later endpoint of this name receives the events left in the queue."""
    receiver: EventReceiver
    ignored_media_types: frozenset[str] = frozenset()
    ignored_actions: frozenset[str] = frozenset()
    threshold: int = 10
    """Consecutive failures after which the endpoint counts as down."""
    backoff_seconds: float = 1.0
    """Pause after a failure before the next attempt, while the endpoint is down."""

    def wants(self, action: EventAction, media_type: str) -> bool:
        """Whether the endpoint wants an event. Without a media type (deleted tags), only the action counts."""
        return action not in self.ignored_actions and (not media_type or media_type not in self.ignored_media_types)


@dataclass(slots=True)
class EndpointStats:
    """Statistics of an endpoint in one process, updated by the recorder, delivery and upkeep.

    The values of all processes add up. Only the process that delivers reads the outbox. The others report 0 for its
    contents.
    """

    name: str
    queued: int = 0
    """Undelivered events at the last check."""
    queued_bytes: int = 0
    lag_seconds: float = 0.0
    """Age of the oldest undelivered event at the last check."""
    dead: int = 0
    """Dead letters at the last check."""
    dead_bytes: int = 0
    recorded: int = 0
    """Events that this process recorded for the endpoint."""
    delivered: int = 0
    failures: int = 0
    """Attempts without a response, or with a status other than 2xx or 3xx."""
    buried: int = 0
    """Events that became dead letters."""
    dropped: int = 0
    """Events and dead letters that were deleted because they took too many bytes or were too old."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Number of responses with each status."""
    is_down: bool = False
    """Whether the endpoint counts as down: at least `threshold` consecutive attempts have failed."""

    def forget_outbox(self) -> None:
        """Set the values read from the outbox to 0. Another process delivers now."""
        self.queued = self.queued_bytes = self.dead = self.dead_bytes = 0
        self.lag_seconds = 0.0
        self.is_down = False
