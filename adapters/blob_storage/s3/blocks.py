"""Buffers for parts of uploads, made of blocks that the kernel gives and takes back.

`malloc` keeps large buffers that were freed once: the C library raises the size from which it asks the kernel, and the
heaps of threads keep what lies below younger objects. Two workers kept 100 MiB after a few pushes. A block is a mapping
of its own, and its pages take memory only when bytes arrive in them.
"""

import mmap
from contextlib import suppress
from typing import Final

BLOCK_BYTES: Final = 2 * 1024 * 1024
"""The size of a huge page of x86 and ARM."""


_HUGE: Final[int | None] = getattr(mmap, "MADV_HUGEPAGE", None)


class BlockPool:
    """Blocks that are free to be used again; taken and given by any thread.

    A used block costs no page faults, so some blocks are kept while uploads are under way. New ones get huge pages: the
    faults of 40 MiB in small pages took 24 ms of processor time, in huge ones 6.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self, *, is_filled: bool) -> mmap.mmap:
        """Return a block, whose content is undefined.

        Args:
            is_filled: whether it will probably be filled; a block of huge pages takes all of its memory at once.
        """
        try:
            return self._free.pop()
        except IndexError:
            block = mmap.mmap(-1, BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if is_filled and _HUGE is not None:
            # A kernel without huge pages refuses the advice, and gives small ones.
            with suppress(OSError):
                block.madvise(_HUGE)
        return block

    def give(self, blocks: list[mmap.mmap]) -> None:
        """Take blocks back to which nothing refers any more."""
        self._free += blocks

    def shrink(self, bytes_max: int) -> None:
        """Return free blocks to the kernel until at most this many bytes are kept."""
        del self._free[bytes_max // BLOCK_BYTES :]


class PartBuffer:
    """The bytes of one part, or of the beginning of one; grows as bytes arrive.

    Args:
        pool: where the blocks come from.
        capacity: maximum number of bytes.
    """

    def __init__(self, pool: BlockPool, capacity: int) -> None:
        self._pool = pool
        self._blocks: list[mmap.mmap] = []
        self.capacity = capacity
        self.size = 0
        self.charge = 0
        """Number of bytes that `PartMemory` counts for this buffer."""
        self.is_secured = False
        """Whether the charge suffices for all that its upload will append before the buffer is sent."""

    @property
    def is_full(self) -> bool:
        """Whether the part is complete."""
        return self.size >= self.capacity

    @property
    def footprint(self) -> int:
        """Number of bytes that the buffer takes: huge pages are taken as a whole."""
        return min(self.capacity, max(self.size, (len(self._blocks) > 1) * len(self._blocks) * BLOCK_BYTES))

    def hold(self, piece: memoryview) -> memoryview:
        """Append as much of a piece as fits, and return the rest."""
        while piece and self.size < self.capacity:
            offset = self.size % BLOCK_BYTES
            if not offset:
                # Most uploads end within their first block.
                is_filled = bool(self._blocks) and self.capacity - self.size >= BLOCK_BYTES
                self._blocks.append(self._pool.take(is_filled=is_filled))
            fitting = piece[: min(BLOCK_BYTES - offset, self.capacity - self.size)]
            self._blocks[-1][offset : offset + len(fitting)] = fitting
            self.size += len(fitting)
            piece = piece[len(fitting) :]
        return piece

    def views(self) -> list[memoryview]:
        """Return the bytes, one piece for each block."""
        starts = range(0, self.size, BLOCK_BYTES)
        return [memoryview(block)[: self.size - start] for start, block in zip(starts, self._blocks, strict=True)]

    def drop(self, *, is_unused: bool) -> None:
        """Give up the bytes.

        Args:
            is_unused: whether nothing refers to them any more, so that the blocks can be used again. A request that was
                cancelled or repeated may still be sending them.
        """
        if is_unused:
            self._pool.give(self._blocks)
        self._blocks = []
        self.size = 0
