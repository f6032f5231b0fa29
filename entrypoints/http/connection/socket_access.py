"""Socket access for threads, to read the rest of a request body or to write a response body.

Over TLS, a thread uses the session of the connection together with the descriptor (`session_of`).
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from aiohttp import StreamReader

from entrypoints.http.connection.chunks import ChunkedFraming


@dataclass(slots=True)
class LentChunks:
    """A socket that is lent for a chunked body."""

    descriptor: int
    framing: ChunkedFraming
    """The position in the body."""
    rest: StreamReader
    """After the block: the data that follows, usually none."""


@runtime_checkable
class SocketLender(Protocol):
    """Connection that can lend its socket: for the rest of a body of known length, or for a response."""

    def take_arrived(self, payload: StreamReader) -> bytes:
        """Return the buffered bytes of a body, also after the connection has ended.

        Emptying the buffer lets the parser process data that it held back, so more bytes may be buffered afterwards.
        """

    def can_lend(self, payload: StreamReader) -> bool:
        """Return whether the socket, with the session, yields the bytes of the body, and some are still to come."""

    def lend(self, payload: StreamReader) -> AbstractContextManager[int]:
        """Lend a descriptor, which has no other reader, for a block that reads exactly the rest of the body.

        If the block raises, the connection accepts no further requests.
        """

    def follows_chunks(self, payload: StreamReader) -> bool:
        """Return whether a chunked body is plain up to now.

        Then `can_lend_chunks` is true after `take_arrived` has returned nothing, unless the body ends or goes wrong in
        the bytes that arrived.
        """

    def can_lend_chunks(self, payload: StreamReader) -> bool:
        """Return whether the socket yields the bytes that follow the position in a chunked body.

        Only after `take_arrived` has returned nothing.
        """

    def lend_chunks(self, payload: StreamReader) -> AbstractContextManager[LentChunks]:
        """Lend a descriptor, as `lend` does, for a block that follows a chunked body until its framing is over.

        The block may read beyond that: the parser receives the bytes that the framing did not follow.
        """

    def lend_output(self) -> AbstractAsyncContextManager[int]:
        """Lend a descriptor for a block that writes to it, after all earlier output has been passed to the kernel.

        Raises:
            ConnectionError: the connection is gone.
        """


async def readable(descriptor: int) -> None:
    """Wait until data has arrived or the connection has ended."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(descriptor, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Wait until the socket accepts data or the connection is gone."""
    loop = asyncio.get_running_loop()
    drained = asyncio.Event()
    loop.add_writer(descriptor, drained.set)
    try:
        await drained.wait()
    finally:
        loop.remove_writer(descriptor)


@contextmanager
def duplicate(descriptor: int) -> Iterator[int]:
    """Yield a duplicate of a descriptor, which stays valid when the original is closed."""
    own = os.dup(descriptor)
    try:
        yield own
    finally:
        os.close(own)
