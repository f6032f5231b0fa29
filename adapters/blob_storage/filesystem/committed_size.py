"""The committed size of a file, stored with the file, so that a truncated or grown file is detected by its length.

The size is in an extended attribute, which other registries do not see. It is missing after a copy without attributes
and on a file system without them; then the committed size is unknown.
"""

import os
from contextlib import suppress
from typing import Final

_ATTRIBUTE: Final = "user.registry.size"


def keep_size(descriptor: int, size: int) -> None:
    """Record `size` as the committed size of the open file, if its file system supports attributes."""
    # Not an error: the disk may be full or the file system may have no attributes, and the size is optional.
    with suppress(OSError):
        os.setxattr(descriptor, _ATTRIBUTE, str(size).encode("ascii"))


def read_size(descriptor: int) -> int | None:
    """Return the recorded size of the open file, or None. Takes about a microsecond."""
    try:
        return int(os.getxattr(descriptor, _ATTRIBUTE))
    except (OSError, ValueError):
        return None
