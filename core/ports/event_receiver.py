"""The port for one receiver of events, reached over a network."""

from abc import abstractmethod

from core.ports.resource import Resource


class ReceiverUnavailableError(Exception):
    """The receiver did not respond. The message gives the reason in one line, without secrets."""


class EventReceiver(Resource):
    """Sends events to a receiver. One per endpoint and process, opened as a context manager."""

    @abstractmethod
    async def post(self, body: bytes) -> int:
        """Send an envelope, wait a bounded time for the response, and return its status.

        Safe for concurrent tasks. The same body may be sent again: receivers recognise duplicates by event ids.

        Raises:
            ReceiverUnavailableError: there was no response.
        """
