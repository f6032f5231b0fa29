"""Incoming content: an iterator of chunks, or a source that threads read directly."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

Offload = Callable[..., Awaitable[Any]]
"""Start `function(*arguments)` in a thread at once and return an awaitable for its result."""

Beside = Callable[..., Callable[[], Any]]
"""Start `function(*arguments)` in another thread at once, and return a function that waits for its result.

For callers that are in a thread themselves.
"""

FillPipe = Callable[[int, int], Awaitable[int]]
"""Wait for data, move at most as many of the next bytes to an empty non-blocking pipe, and return their number.

The arguments are the pipe's descriptor and the limit. The result is 0 only after the last byte. Raises
`StorageUnavailableError` if the store fails.
"""


class ContentSource(ABC):
    """The body of a request. The bytes are read in order, once, by one task."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield received bytes in chunks of bounded size, waiting for more as needed."""

    @abstractmethod
    def blocking_reads(self, make_room: Callable[[int], Awaitable[int]]) -> AsyncGenerator[Iterator[memoryview], None]:
        """Yield iterators over the bytes to come, each to be consumed in one thread before the next is requested.

        A thread reads the socket into two buffers in turn, which bypasses the event loop and rarely holds the
        interpreter's lock. A piece is valid until the next but one is requested, so the next piece can be received
        while the last one is used. If this generator is closed before its end, the connection accepts no further
        requests.

        Nothing is yielded if few bytes are left or the connection does not support such reads. Iteration yields any
        bytes that are left.

        Args:
            make_room: called before each iterator, with the number of bytes that are left (as for `BlobWriter`);
                returns the number of bytes, at least 1, that the iterator may yield. Bytes that had arrived before may
                exceed it.

        Raises:
            the errors of iteration, after all received bytes were yielded.
        """
