"""Reading without a thread what the kernel has in memory already.

A hop to a thread and back costs 60 to 100 µs, ten times what reading a link from the page cache does, and
every pull and push reads links. `RWF_NOWAIT` refuses instead of waiting for the disk; only then a thread is
worth it.
"""

import errno
import os
from typing import Final

INLINE_BYTES_MAX: Final = 256 * 1024
"""The most that is copied at once on the event loop, which takes about 30 µs."""


class PageCache:
    """What is known of one file system's ability to answer from memory; one per adapter."""

    def __init__(self) -> None:
        self.is_usable = hasattr(os, "RWF_NOWAIT")
        """Whether it is worth asking. Where not (NFS, some FUSE), opening alone may wait for a network."""

    def read(self, descriptor: int, size: int, offset: int) -> bytes | None:
        """Return the bytes at `offset` that are in memory, at most `size`, or None if there are none.

        Empty only at the end of the file.
        """
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
        return bytes(memoryview(buffer)[:count])
