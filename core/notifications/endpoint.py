"""An endpoint: who is told, what of, and with how much patience."""

from dataclasses import dataclass

from core.events import EventAction
from core.ports.event_receiver import EventReceiver


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One receiver of events, as an operator has described it."""

    name: str
    """Unique; it names the queue, so another endpoint of that name later gets what is left of this one's events."""
    receiver: EventReceiver
    ignored_media_types: frozenset[str] = frozenset()
    ignored_actions: frozenset[str] = frozenset()
    threshold: int = 10
    """How many failures in a row make it count as down."""
    backoff_seconds: float = 1.0
    """How long one waits after a failure, before the next try of one event, while it is down."""

    def wants(self, action: EventAction, media_type: str) -> bool:
        """Whether it is told of this; what has no media type, as a deleted tag, is decided on by the action alone."""
        return action not in self.ignored_actions and (not media_type or media_type not in self.ignored_media_types)
