"""Reads from the kernel's page cache without a thread.

A hop to a thread and back costs 60 to 100 µs, ten times as much as reading a link from the page cache, and every pull
and push reads links. With `RWF_NOWAIT` a read fails instead of waiting for the disk; only then is a thread worth its
cost.
"""

import errno
import os
from typing import Final

INLINE_BYTES_MAX: Final = 256 * 1024
"""Maximum number of bytes copied at once on the event loop, which takes about 30 µs."""


class PageCache:
    """Non-blocking reads from the page cache of one file system; one per adapter."""

    def __init__(self) -> None:
        self.is_usable = hasattr(os, "RWF_NOWAIT")
        """Whether such reads work. If not (NFS, some FUSE), even opening a file may wait for a network."""

    def read(self, descriptor: int, size: int, offset: int) -> bytes | None:
        """Return at most `size` cached bytes at `offset`, or None if none are cached.

        Empty only at the end of the file.
        """
        buffer = self.fill(descriptor, size, offset)
        return None if buffer is None else bytes(buffer)

    def fill(self, descriptor: int, size: int, offset: int) -> bytearray | None:
        """Return the same as `read`, in the buffer that the kernel filled, without a copy."""
        buffer = bytearray(size)
        try:
            count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            self.is_usable = False
            return None
        del buffer[count:]
        return buffer
