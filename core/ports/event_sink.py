"""The port for where events go: whoever changes something tells it here, after it is done."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from core.events import EventAction, Occurrence, Origin
from core.typing import override


class EventSink(ABC):
    """Takes in what happened; one per process, safe for any number of tasks."""

    @abstractmethod
    def wants(self, action: EventAction, media_type: str = "") -> bool:
        """Whether anybody would be told of this. Costs nothing, so ask before looking anything up for an event."""

    @property
    @abstractmethod
    def wants_references(self) -> bool:
        """Whether events shall list what a manifest refers to."""

    @abstractmethod
    async def emit(self, occurrences: Sequence[Occurrence], origin: Origin) -> None:
        """Tell what happened, in this order. What nobody wants costs nothing.

        Pushes, mounts and deletes are durably recorded, and will be delivered at least once, when this returns: tell
        them before the request is answered. Pulls are taken into a bounded memory and recorded within a second or so;
        a kill in between loses them, and this returns at once.

        Raises:
            StorageUnavailableError: pushes, mounts or deletes could not be recorded, and the operator wants them
                refused then. What happened has happened; asked for once more, it is told once more.
        """


class NoEvents(EventSink):
    """Nobody is told anything."""

    @override
    def wants(self, action: EventAction, media_type: str = "") -> bool:
        return False

    @property
    @override
    def wants_references(self) -> bool:
        return False

    @override
    async def emit(self, occurrences: Sequence[Occurrence], origin: Origin) -> None:
        return


NO_EVENTS: Final = NoEvents()
"""Where nobody is told anything."""
