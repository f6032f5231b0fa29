"""The bound for the bytes of uploads in memory, over all uploads of a process.

Every buffer is charged before bytes arrive in it. An upload without room waits and reads no more from its client, so
that TCP stops the client. Uploads get whole parts in turn, because a part can be sent when it is full.

**No deadlock.** A buffer is *secured* if its charge suffices until it is sent: then its memory is freed without that of
any other upload. If nothing is secured and the memory is used up by beginnings of parts, the largest of those that wait
gets the rest of its part in any case, at most one part beyond the limit.

**Slow clients.** If others wait, an idle upload gives back the unused rest of its part, and sends the full parts that
it holds. An upload never waits for others while it holds a full part (`writer`).
"""

import asyncio
import math
import time
from collections.abc import Callable
from itertools import count
from typing import Final, Protocol

from adapters.blob_storage.s3.blocks import BlockPool, PartBuffer
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.shared_use import SharedUse

SMALL_BYTES_MAX: Final = 1024 * 1024
"""Up to this size a buffer is charged by the bytes that arrive: most uploads are smaller than a part."""
IDLE_SECONDS: Final = 1.0
"""Time without data after which an upload gives back its unused memory, if others wait."""
_LOOK_SECONDS: Final = 0.1
"""Interval at which uploads that wait look for idle ones, and for memory that another process freed."""


class Holder(Protocol):
    """An upload that holds buffers."""

    touched_at: float
    """When bytes last arrived, by the clock."""

    def relieve(self) -> None:
        """Give back unused memory, and begin to send full parts."""


class PartMemory:
    """Charges the buffers of all uploads of a process; used by the tasks of one event loop.

    Args:
        part_bytes: size of a part.
        limit_bytes: maximum number of bytes over all processes of the server. Each process may take an equal share of
            them in any case, and at least one part; more than its share only while the others leave it.
        shared: the use of all processes.
        clock: returns seconds since an arbitrary start.
    """

    def __init__(self, part_bytes: int, limit_bytes: int, *, shared: SharedUse, clock: Callable[[], float]) -> None:
        self._part_bytes = part_bytes
        self._limit = max(part_bytes, limit_bytes)
        self._share = max(part_bytes, limit_bytes // shared.processes)
        self._shared = shared
        self._clock = clock
        self._pool = BlockPool()
        self._buffers: set[PartBuffer] = set()
        self._secured = 0
        self._used = 0
        self._waiting: dict[asyncio.Future[None], tuple[PartBuffer, int, bool, int]] = {}
        self._order = count()
        self._holders: set[Holder] = set()
        self._look: asyncio.TimerHandle | None = None
        self.used_max = 0
        """The most that was charged at once."""

    @property
    def used(self) -> int:
        """Number of bytes that are charged now."""
        return self._used

    def now(self) -> float:
        """Return the time by the clock."""
        return self._clock()

    def join(self, holder: Holder) -> None:
        """Ask this upload to relieve the memory when others wait."""
        self._holders.add(holder)

    def leave(self, holder: Holder) -> None:
        """Forget an upload, which has closed its buffers."""
        self._holders.discard(holder)

    def buffer(self) -> PartBuffer:
        """Return a new buffer, of which nothing is charged yet."""
        buffer = PartBuffer(self._pool, self._part_bytes)
        self._buffers.add(buffer)
        return buffer

    def try_grow(self, buffer: PartBuffer, size: int, *, is_last: bool) -> bool:
        """Charge a buffer for `size` bytes if this is possible now; return whether it is charged for them.

        Args:
            buffer: an open buffer.
            size: the size that the buffer will have; rounded up to a whole part for buffers that are not small.
            is_last: whether the upload appends no more than that before it sends the buffer.
        """
        target, secures = self._target(buffer, size, is_last=is_last)
        if target <= buffer.charge:
            return True
        # The upload appends more than it announced.
        self._secured -= buffer.is_secured
        buffer.is_secured = False
        if (self._waiting and not self._precedes(buffer, target)) or not self._fits(buffer, target, secures=secures):
            return False
        self._charge(buffer, target, secures=secures)
        return True

    async def grow(self, buffer: PartBuffer, size: int, *, is_last: bool) -> None:
        """Charge a buffer for `size` bytes, after uploads that began to wait earlier."""
        if self.try_grow(buffer, size, is_last=is_last):
            return
        target, secures = self._target(buffer, size, is_last=is_last)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[granted] = (buffer, target, secures, next(self._order))
        self._look_soon()
        try:
            await granted
        finally:
            if self._waiting.pop(granted, None) is not None:
                # Cancelled; those behind may fit.
                self._grant()

    def trim(self, buffer: PartBuffer) -> None:
        """Take back the unused rest of an idle buffer."""
        if buffer.is_secured and not buffer.is_full and buffer in self._buffers:
            self._secured -= 1
            buffer.is_secured = False
            self._account(buffer, buffer.footprint)

    def close(self, buffer: PartBuffer, *, is_unused: bool = False) -> None:
        """Free a buffer; idempotent. See `PartBuffer.drop` for `is_unused`."""
        if buffer not in self._buffers:
            return
        self._buffers.discard(buffer)
        self._secured -= buffer.is_secured
        buffer.is_secured = False
        buffer.drop(is_unused=is_unused)
        self._account(buffer, 0)
        self._grant()
        self._pool.shrink(self._used)

    def _target(self, buffer: PartBuffer, size: int, *, is_last: bool) -> tuple[int, bool]:
        """Return the charge for a size, and whether it secures the buffer."""
        if not is_last and size > SMALL_BYTES_MAX:
            size = buffer.capacity
        return min(size, buffer.capacity), is_last or size >= buffer.capacity

    def _precedes(self, buffer: PartBuffer, target: int) -> bool:
        """Whether a buffer comes before all that wait."""
        place = _rank(buffer, target, math.inf)
        return all(place < _rank(other, wanted, order) for other, wanted, _, order in self._waiting.values())

    def _fits(self, buffer: PartBuffer, target: int, *, secures: bool) -> bool:
        used = self._used + target - buffer.charge
        if used <= self._share or used + self._shared.others() <= self._limit:
            return True
        return secures and not self._secured and used <= self._limit + self._part_bytes

    def _charge(self, buffer: PartBuffer, target: int, *, secures: bool) -> None:
        self._secured += secures and not buffer.is_secured
        buffer.is_secured = buffer.is_secured or secures
        self._account(buffer, target)

    def _account(self, buffer: PartBuffer, charge: int) -> None:
        self._used += charge - buffer.charge
        buffer.charge = charge
        self.used_max = max(self.used_max, self._used)
        self._shared.publish(self._used)

    def _grant(self) -> None:
        """Let uploads that wait go on, in the order of the queue, while they fit."""
        queue = sorted(self._waiting.items(), key=lambda item: _rank(item[1][0], item[1][1], item[1][3]))
        for granted, (buffer, target, secures, _) in queue:
            if not self._fits(buffer, target, secures=secures):
                return
            self._charge(buffer, target, secures=secures)
            del self._waiting[granted]
            if not granted.done():
                granted.set_result(None)

    def _look_soon(self) -> None:
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._relieve)

    def _relieve(self) -> None:
        """Take back the unused memory of idle uploads, and grant it."""
        self._look = None
        if not self._waiting:
            return
        idle_since = self._clock() - IDLE_SECONDS
        for holder in list(self._holders):
            if holder.touched_at < idle_since:
                holder.relieve()
        self._grant()
        if self._waiting:
            self._look_soon()


def _rank(buffer: PartBuffer, target: int, order: float) -> tuple[int, bool, float]:
    """Return the place in the queue: the largest buffer needs the least to be sent, and a small one is sent soon."""
    return -buffer.charge, target > SMALL_BYTES_MAX, order


class HeldBytes:
    """The bytes of one upload that are not in flight.

    Args:
        memory: the memory of all uploads.
    """

    def __init__(self, memory: PartMemory) -> None:
        self._memory = memory
        self.full: list[PartBuffer] = []
        """Complete parts that are not sent yet."""
        self.filling: PartBuffer | None = None
        """The part that is being received."""

    def buffers(self) -> list[PartBuffer]:
        """Return the buffers that hold bytes, in the order of these."""
        return [*self.full, self.filling] if self.filling is not None and self.filling.size else self.full

    @property
    def size(self) -> int:
        """Number of bytes."""
        return sum(buffer.size for buffer in self.buffers())

    def body(self) -> Body:
        """Return all bytes."""
        return Body(*(view for buffer in self.buffers() for view in buffer.views()))

    def hold(self, rest: memoryview) -> None:
        """Append bytes; may be called in a thread."""
        while rest:
            filling = self.filling_buffer()
            rest = filling.hold(rest)
            if filling.is_full:
                self.full.append(filling)
                self.filling = None

    def filling_buffer(self) -> PartBuffer:
        """Return the buffer for the next bytes."""
        if self.filling is None:
            self.filling = self._memory.buffer()
        return self.filling

    def free(self) -> None:
        """Free all buffers."""
        for buffer in (*self.full, self.filling):
            if buffer is not None:
                self._memory.close(buffer)
        self.full, self.filling = [], None


def memory_of_uploads(options: S3Options, shared: SharedUse) -> PartMemory:
    """Return the memory of the uploads of this process."""
    limit = options.upload_memory_max(shared.processes)
    return PartMemory(options.chunk_bytes, limit, shared=shared, clock=time.monotonic)
