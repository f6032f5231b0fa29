"""The port for publishing events, called after a change is complete."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from core.model.events import EventAction, Occurrence, Origin


class EventSink(ABC):
    """Destination of events. One per process; safe for concurrent tasks."""

    @abstractmethod
    def wants(self, action: EventAction, media_type: str = "") -> bool:
        """Whether any endpoint wants such an event. Free of cost; call before preparing an event."""

    @property
    @abstractmethod
    def wants_references(self) -> bool:
        """Whether events must list the references of a manifest."""

    @abstractmethod
    async def emit(self, occurrences: Sequence[Occurrence], origin: Origin) -> None:
        """Publish these events, in this order. Events that no endpoint wants cost nothing.

        When this returns, pushes, mounts and deletes are durably recorded and will be delivered at least once; publish
        them before answering the request. Pulls are buffered in bounded memory and recorded within about a second; this
        returns at once, and a kill in between loses them.

        Raises:
            StorageUnavailableError: pushes, mounts or deletes could not be recorded, and the operator configured that
                they are refused then. The change itself stands; if the request is repeated, its event is published
                again.
        """
