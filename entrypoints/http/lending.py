"""A connection's socket, lent to a thread: for the rest of a body, or for that of an answer."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, suppress
from typing import Protocol, runtime_checkable

from aiohttp import StreamReader


@runtime_checkable
class SocketLender(Protocol):
    """A connection whose socket can be had: for the rest of a body of known length, for an answer."""

    def can_lend(self, payload: StreamReader) -> bool:
        """Whether the bytes on the wire are those of the body (no TLS), and some are still to come."""

    def lend(self, payload: StreamReader) -> AbstractContextManager[int]:
        """Lend a descriptor, on which nobody else reads, for a block that reads exactly the rest of the body.

        A block that is left by an exception leaves a connection that takes no more requests.
        """

    def lend_output(self) -> AbstractAsyncContextManager[int]:
        """Lend a descriptor for a block that writes on it, once all that was written before is with the kernel.

        Raises:
            ConnectionError: the connection is gone.
        """


async def outlast(call: Awaitable[None], *, stop: Callable[[], None] = lambda: None) -> None:
    """Wait for what runs in a thread; a cancelled caller asks it to stop, and leaves only when it has ended.

    What the thread writes to must not be closed under it: its number may soon be that of another file.
    """
    running = asyncio.ensure_future(call)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            # Looked at, for nobody else will: the cancellation is what the caller is told.
            running.exception()
        raise


async def readable(descriptor: int) -> None:
    """Wait until there are bytes, or the end of the connection is."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(descriptor, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Wait until there is room for bytes, or the connection is gone."""
    loop = asyncio.get_running_loop()
    drained = asyncio.Event()
    loop.add_writer(descriptor, drained.set)
    try:
        await drained.wait()
    finally:
        loop.remove_writer(descriptor)


@contextmanager
def duplicate(descriptor: int) -> Iterator[int]:
    """Yield a descriptor of one's own, which stays valid when the other is closed."""
    own = os.dup(descriptor)
    try:
        yield own
    finally:
        os.close(own)
