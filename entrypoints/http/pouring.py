"""Large bodies, received by a thread straight from the socket into a buffer that is hashed and written from.

The usual way of a piece (event loop, parser, buffer, two changes of threads) costs more processor time than hashing
it: over four connections, 256 MiB took 690 ms of it, and take half as much like this. `tests.benchmarks` has the rows.
"""

import os
import select
import time
from collections.abc import Callable
from typing import Final

from core.content_source import Offload
from entrypoints.http.lending import outlast

POURED_BYTES_MIN: Final = 1024 * 1024
"""Less is not worth the ado."""
_PIECE_BYTES: Final = 1024 * 1024
_PIECE_BYTES_MIN: Final = 64 * 1024
"""Fewer bytes are taken only when no more arrive for a moment."""
_TURN_BYTES: Final = 32 * 1024 * 1024
"""After so many bytes another upload may have the thread."""
_PATIENCE_MS: Final = 5
"""How long a thread waits for bytes; then the event loop does, at no cost."""
_WAITING_SECONDS_MAX: Final = 0.05
"""How long a thread waits in all, for bytes that come one by one."""


class BodyEndedError(Exception):
    """The connection ended before the body did."""


class Pump:
    """Fetches the rest of a body and hands it on; runs in threads, one at a time.

    Args:
        descriptor: a socket's that does not block.
        take: is given each piece, which it must not keep.
        left: bytes still to come, at least 1.
    """

    def __init__(self, descriptor: int, take: Callable[[memoryview], None], left: int) -> None:
        self.left = left
        self.is_idle = False
        """Whether the last turn ended since nothing arrived."""
        self.waited_seconds = 0.0
        """How long threads have waited for bytes."""
        self._descriptor = descriptor
        self._take = take
        self._buffer = memoryview(bytearray(min(_PIECE_BYTES, left)))
        self._may_wait_until = 0.0
        self._is_stopped = False
        self._has_ended = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def stop(self) -> None:
        """Have the turn that is running end with the piece at hand."""
        self._is_stopped = True

    def turn(self) -> None:
        """Take what arrives until all is there, nothing arrives for a moment, or it is another upload's turn.

        Raises:
            BodyEndedError: the connection ended early; all that arrived was taken.
        """
        until = max(0, self.left - _TURN_BYTES)
        self._may_wait_until = self.waited_seconds + _WAITING_SECONDS_MAX
        self.is_idle = False
        while self.left > until and not self._is_stopped and not self.is_idle:
            filled = self._fill(self._buffer[: self.left])
            if filled:
                self._take(self._buffer[:filled])
                self.left -= filled
            if self._has_ended:
                raise BodyEndedError

    def _fill(self, space: memoryview) -> int:
        """Receive until the space is full or nothing more is there; return how many bytes that were."""
        filled = 0
        while filled < len(space) and not self._has_ended:
            try:
                count = os.readv(self._descriptor, [space[filled:]])
            except BlockingIOError:
                if filled < _PIECE_BYTES_MIN and self._arrives():
                    continue
                self.is_idle = filled < _PIECE_BYTES_MIN
                break
            except OSError:
                self._has_ended = True
            else:
                self._has_ended = count == 0
                filled += count
        return filled

    def _arrives(self) -> bool:
        if self.waited_seconds >= self._may_wait_until:
            return False
        began = time.monotonic()
        is_there = bool(self._poll.poll(_PATIENCE_MS))
        self.waited_seconds += time.monotonic() - began
        return is_there


async def run_turn(pump: Pump, offload: Offload) -> None:
    """Run a turn in a thread; a cancelled caller leaves only when the thread has left the descriptor and `take`."""
    await outlast(offload(pump.turn), stop=pump.stop)
