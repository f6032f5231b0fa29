"""Endpoint: a receiver of events, with its filters and retry settings."""

from dataclasses import dataclass

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
