"""Incoming content: an iterator of chunks, or a source that threads read from directly."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Offload = Callable[..., Awaitable[Any]]
"""Start `function(*arguments)` in a thread at once and return an awaitable for its result."""


class ContentSource(ABC):
    """The body of a request. The bytes are read in order, once, by one task."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield received bytes in chunks of bounded size, waiting for more as needed."""

    @property
    @abstractmethod
    def can_receive_into(self) -> bool:
        """Whether many bytes are still to come and `receive_into` can receive them; checked between two chunks."""

    @abstractmethod
    async def receive_into(self, take: Callable[[memoryview], None], offload: Offload) -> None:
        """Pass all remaining bytes to `take`, in order. Iteration ends afterwards.

        The socket is read and `take` is called in one thread with one buffer, which bypasses the event loop and rarely
        holds the interpreter's lock.

        Args:
            take: called in threads, never concurrently. An exception that it raises ends the transfer and is raised
                here.
            offload: runs functions in threads.

        Raises:
            the errors of iteration, after all received bytes were passed to `take`.
        """
