"""The heap of a process that receives uploads, which keeps a few freed MiB for the next body.

By default the C library returns freed memory to the kernel as soon as 128 KiB of it are at the end of the heap, or
twice the size of the largest block that it has seen freed. The pieces of a body then often took new pages. Their faults
were up to a third of the processor time of a push of 1 MiB. The fixed sizes also bound the memory that a process keeps.
"""

import ctypes
from typing import Final

# The numbers of these options in glibc's <malloc.h>.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Amount of freed memory at the end of a heap from which it is returned.

The pieces of a body that arrive before a thread receives the rest take up to 3 MiB, copies included: with 2 MiB, a push
took as long as without this module.
"""
_LARGE_BYTES: Final = 4 * 1024 * 1024
"""Size from which a block is a mapping of its own, which is returned at once."""


def keep_freed_memory() -> None:
    """Fix the sizes for this process, if its C library has such options, as glibc does."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    set_option(_TRIM_THRESHOLD, _KEPT_BYTES)
    set_option(_MMAP_THRESHOLD, _LARGE_BYTES)
