"""The number of bytes of a committed file, kept beside its content: a file that was cut or grew is seen by its length.

The number is an extended attribute, which other registries do not see. A copy without attributes, or a file system that
has none, leaves it out; then nothing is known.
"""

import os
from contextlib import suppress
from typing import Final

_ATTRIBUTE: Final = "user.registry.size"


def keep_size(descriptor: int, size: int) -> None:
    """Note that the open file has `size` bytes, where its file system can."""
    # A full disk or a file system without attributes: the content is what counts.
    with suppress(OSError):
        os.setxattr(descriptor, _ATTRIBUTE, str(size).encode("ascii"))


def read_size(descriptor: int) -> int | None:
    """Return what was noted of the open file, or None. Takes about a microsecond."""
    try:
        return int(os.getxattr(descriptor, _ATTRIBUTE))
    except (OSError, ValueError):
        return None
