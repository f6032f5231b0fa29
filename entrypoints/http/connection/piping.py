"""Sends blobs that the kernel moves from the store's socket to the client's, through a pipe.

No thread is needed: unlike a file, a socket never makes `splice` wait for a disk.
"""

import asyncio
import fcntl
import os
import socket
from functools import cache
from typing import Final, Self

from aiohttp.abc import AbstractStreamWriter

from core.content_source import FillPipe
from entrypoints.http.connection.socket_access import writable

_PIPE_BYTES: Final = 512 * 1024
"""Kernel memory of a pull, and the number of bytes after which other requests have their turn.

Linux allows a user without privileges 64 MiB of pipes. A pull of 64 MiB takes 20 ms of processor time with this size,
22 with 256 KiB, 18 with 1 MiB.
"""


class Pipe:
    """An empty, non-blocking pipe; closed at the end of a `with` block."""

    def __init__(self, outlet: int, inlet: int) -> None:
        self.outlet = outlet
        self.inlet = inlet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.outlet)
        os.close(self.inlet)


def open_pipe() -> Pipe | None:
    """Return a new pipe, or None if the system provides no pipe of the size or cannot move bytes through it."""
    if not can_splice():
        return None
    try:
        pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        # The process has too many open files.
        return None
    try:
        fcntl.fcntl(pipe.inlet, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        # The user has too many pipes.
        with pipe:
            return None
    return pipe


@cache
def can_splice() -> bool:
    """Try to move a byte from a socket through a pipe to a socket, which some sandboxes do not support."""
    if not hasattr(os, "splice"):
        return False
    ours, theirs = socket.socketpair()
    with ours, theirs, Pipe(*os.pipe2(os.O_CLOEXEC)) as pipe:
        theirs.send(b"x")
        try:
            return bool(os.splice(ours.fileno(), pipe.inlet, 1) and os.splice(pipe.outlet, ours.fileno(), 1))
        except OSError:
            return False


async def send_through_pipe(
    writer: AbstractStreamWriter, pipe: Pipe, fill: FillPipe, left: int, descriptor: int
) -> None:
    """Send `left` bytes to a non-blocking socket.

    Args:
        writer: counts the bytes that were sent, for the access log.
        pipe: an empty pipe.
        fill: provides the bytes.
        left: number of bytes.
        descriptor: descriptor of the socket.

    Raises:
        StorageUnavailableError: the store failed; all bytes that it delivered before were sent.
        ConnectionError: the client disconnected.
    """
    while left:
        held = await fill(pipe.inlet, min(left, _PIPE_BYTES))
        left -= held
        while held:
            sent = await _send(pipe.outlet, descriptor, held)
            held -= sent
            writer.output_size += sent
        # Neither side may ever have to wait, and other requests need the event loop.
        await asyncio.sleep(0)


async def _send(outlet: int, descriptor: int, held: int) -> int:
    while True:
        try:
            return os.splice(outlet, descriptor, held, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        except BlockingIOError:
            await writable(descriptor)
        except TimeoutError as error:
            raise ConnectionResetError("the client accepted no data for too long") from error
