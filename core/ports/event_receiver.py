"""The port for one receiver of events, reached over a network."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class ReceiverUnavailableError(Exception):
    """The receiver did not respond. The message gives the reason in one line, without secrets."""


class EventReceiver(ABC):
    """Sends events to a receiver. One per endpoint and process, opened as a context manager."""

    async def __aenter__(self) -> Self:
        """Open the resources of the adapter."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the resources."""

    @abstractmethod
    async def post(self, body: bytes) -> int:
        """Send an envelope, wait a bounded time for the response, and return its status.

        Safe for concurrent tasks. The same body may be sent again: receivers recognise duplicates by event ids.

        Raises:
            ReceiverUnavailableError: there was no response.
        """
