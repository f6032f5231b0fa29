"""The part of the application that answers requests whose head is, byte for byte, that of an earlier one."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from entrypoints.http.draining import InFlight


@dataclass(slots=True)
class Answer:
    """The answer to a repeated request; the connection stays open after it."""

    head: bytes
    content: bytes | bytearray
    measure: Callable[[float], None]
    """Counts the request; called with the seconds so far, before the answer is sent.

    So no answer that a client gets is missing from the counts, even if the process is killed.
    """
    log: Callable[[float], None]
    """Writes the line in the access log; called with the seconds, after the answer was sent."""


class Repeater(ABC):
    """Answers repeated requests; one per application."""

    in_flight: InFlight
    """The requests in flight."""

    @abstractmethod
    def learn(self, request: web.BaseRequest, response: web.StreamResponse) -> Any:
        """Return the parts of an answer that follow from the head of the request alone.

        Returns:
            None if there is more to an answer than `answer` decides.
        """

    @abstractmethod
    async def answer(self, learned: Any, remote: str | None) -> Answer | None:
        """Return the answer to a repeated request, or None if the request has to take all steps of the application.

        Args:
            learned: the result of `learn` for an earlier request with the same head.
            remote: the address of the client.
        """


REPEATER: Final[web.AppKey[Repeater | None]] = web.AppKey("REPEATER")
"""None if requests cannot be repeated with these settings."""
