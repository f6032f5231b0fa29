"""The rule for keys, checked by every adapter: what reaches a store never leaves its root.

It is distribution's rule for driver paths, without the components `.` and `..` that distribution lets
through.
"""

import re
from typing import Final

_KEY: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+")


def require_key(key: str) -> str:
    """Return `key` if an object may have it.

    Raises:
        ValueError: it may not; this is a mistake of the program, never of a client.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a storage key: {key[:256]!r}")
    return key


def require_prefix(prefix: str) -> str:
    """Return what all keys below `prefix` begin with: itself and a slash; `/` is the prefix of everything.

    Raises:
        ValueError: no key can lie below it.
    """
    return "/" if prefix == "/" else require_key(prefix) + "/"
