"""Content on its way in: pieces that arrive, or a source that threads may draw from."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Offload = Callable[..., Awaitable[Any]]
"""Starts `function(*arguments)` in a thread at once and returns what to await for its result."""


class ContentSource(ABC):
    """The bytes of a request, in order, read once, by one task."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what has arrived, waiting for it, in pieces of a bounded size."""

    @property
    @abstractmethod
    def is_pourable(self) -> bool:
        """Whether much is still to come, and `pour` can fetch it; asked between two pieces."""

    @abstractmethod
    async def pour(self, take: Callable[[memoryview], None], offload: Offload) -> None:
        """Hand all that is still to come to `take`, in order; afterwards iterating ends.

        Receiving and taking share a thread and a buffer, so the event loop and the interpreter are hardly needed.

        Args:
            take: called in threads, never twice at once; what it raises ends the pouring and is raised here.
            offload: gives threads.

        Raises:
            whatever iterating raises; all that arrived was taken before.
        """
