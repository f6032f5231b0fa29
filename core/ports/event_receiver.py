"""The port for one receiver of events, on the other side of a network."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class ReceiverUnavailableError(Exception):
    """No answer came; the message says why, in a line without secrets."""


class EventReceiver(ABC):
    """Takes in events; one per endpoint and process, opened and closed as a context manager."""

    async def __aenter__(self) -> Self:
        """Open what the adapter needs."""
        return self

    async def __aexit__(  # noqa: B027 - optional
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it again."""

    @abstractmethod
    async def post(self, body: bytes) -> int:
        """Send an envelope, wait a bounded time for the answer, and return its status.

        Safe for any number of tasks. May be called again with the same body: receivers tell repeats by event ids.

        Raises:
            ReceiverUnavailableError: there was no answer.
        """
