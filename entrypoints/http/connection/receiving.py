"""Receiver of large bodies: a thread reads from the socket directly into buffers for hashing and writing.

The usual path of a chunk (event loop, parser, buffer, two thread switches) costs more CPU time than hashing it: over
four connections, 256 MiB cost 690 ms of CPU time on that path and half as much on this one. `tests.benchmarks` has the
figures.
"""

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from typing_extensions import override

from entrypoints.http.connection.chunks import ChunkedFraming
from entrypoints.http.connection.tls_session import TlsSession

DIRECT_BYTES_MIN: Final = 1024 * 1024
"""Minimum size; for smaller bodies the thread costs more than it saves."""
CHUNKED_BYTES_MIN: Final = 128 * 1024
"""Number of bytes of a chunked body that must have arrived: more are probably to come."""
_PIECE_BYTES: Final = 1024 * 1024
"""Size of a buffer, of which each thread has two. With half the size, 10 MiB took 4 % more processor time."""
_PIECE_BYTES_MIN: Final = 64 * 1024
"""Minimum size of a piece, unless no more data arrives within `_PATIENCE_MS`."""
_TURN_BYTES: Final = 32 * 1024 * 1024
"""Number of bytes after which the thread is released for another upload."""
_PATIENCE_MS: Final = 5
"""Time that a thread waits for data; after that the event loop waits, without occupying a thread."""
_WAITING_SECONDS_MAX: Final = 0.05
"""Maximum total waiting time of a thread in one turn, for data that arrives in tiny amounts."""
_of_thread = threading.local()


class SocketReceiver:
    """Receives the rest of a body; runs in threads, one at a time.

    Args:
        descriptor: descriptor of a non-blocking socket.
        left: bytes still to come, at least 1, with those that have arrived.
        session: decrypts the bytes; None without TLS.
        arrived: the first bytes, which were read before and precede those of the socket.
    """

    def __init__(
        self, descriptor: int, left: int, session: TlsSession | None = None, *, arrived: Sequence[bytes] = ()
    ) -> None:
        self.left = left
        self.is_idle = False
        """Whether the last turn ended because no data arrived."""
        self.has_ended = False
        """Whether the connection ended before the body did."""
        self.waited_seconds = 0.0
        """Total time that threads have waited for data."""
        self._read: Callable[[memoryview], int] = partial(session.receive_into if session else _read_into, descriptor)
        self._arrived = arrived
        self._may_wait_until = 0.0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def turn(self, room: int) -> Iterator[memoryview]:
        """Yield data until the body is complete, no data arrives for a moment, or another upload's turn has come.

        Args:
            room: maximum number of bytes, at least 1; bytes that had arrived may exceed it.
        """
        arrived, self._arrived = self._arrived, ()
        for piece in arrived:
            yield memoryview(piece)
            self.left -= len(piece)
        room = max(0, room - sum(map(len, arrived)))
        buffer, other = _buffers_of_thread()
        until = max(0, self.left - min(room, _TURN_BYTES))
        self._may_wait_until = self.waited_seconds + _WAITING_SECONDS_MAX
        self.is_idle = False
        while self.left > until and not self.is_idle and not self.is_over:
            filled = self._fill(buffer[: self.left - until])
            if filled:
                yield buffer[:filled]
                self.left -= filled
                buffer, other = other, buffer

    def _fill(self, space: memoryview) -> int:
        """Receive data until `space` is full or no more is available; return the number of bytes."""
        filled = 0
        while filled < len(space) and not self.is_over:
            try:
                count = self._read(space[filled:])
            except BlockingIOError:
                if filled < _PIECE_BYTES_MIN and self._arrives():
                    continue
                self.is_idle = filled < _PIECE_BYTES_MIN
                break
            except OSError:
                self.has_ended = True
            else:
                self.has_ended = count == 0
                filled += self._take(space[filled : filled + count])
        return filled

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read from the socket."""
        return self.has_ended

    def _take(self, received: memoryview) -> int:
        """Return how many of these bytes are data, which is at their beginning."""
        return len(received)

    def _arrives(self) -> bool:
        if self.waited_seconds >= self._may_wait_until:
            return False
        began = time.monotonic()
        is_there = bool(self._poll.poll(_PATIENCE_MS))
        self.waited_seconds += time.monotonic() - began
        return is_there


class ChunkReceiver(SocketReceiver):
    """Receives the rest of a chunked body, up to the first line that is not plain (see `ChunkedFraming`).

    Args:
        descriptor: descriptor of a non-blocking socket.
        framing: the position in the body.
        session: decrypts the bytes; None without TLS.
        arrived: data that was read before.
    """

    def __init__(
        self,
        descriptor: int,
        framing: ChunkedFraming,
        session: TlsSession | None = None,
        *,
        arrived: Sequence[bytes] = (),
    ) -> None:
        super().__init__(descriptor, sys.maxsize, session, arrived=arrived)
        self._framing = framing

    @property
    def received(self) -> int:
        """Number of bytes of data received up to now, with those that had arrived."""
        return sys.maxsize - self.left

    @property
    @override
    def is_over(self) -> bool:
        return self.has_ended or self._framing.is_over

    @override
    def _take(self, received: memoryview) -> int:
        size = 0
        for start, end in self._framing.follow(received):
            # Chunks of 32 KiB are usual; one write and one hash for many of them take less time than for each.
            received[size : size + end - start] = received[start:end]
            size += end - start
        return size


def _buffers_of_thread() -> tuple[memoryview, memoryview]:
    """Return the buffers of this thread: new ones for each body would cost the time to clear their pages."""
    if not hasattr(_of_thread, "buffers"):
        _of_thread.buffers = tuple(memoryview(bytearray(_PIECE_BYTES)) for _ in range(2))
    buffers: tuple[memoryview, memoryview] = _of_thread.buffers
    return buffers


def _read_into(descriptor: int, space: memoryview) -> int:
    return os.readv(descriptor, [space])
