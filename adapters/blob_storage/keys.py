"""The rule for keys, checked by every adapter, so that no key leads outside a store's root.

It is distribution's rule for driver paths, but it also rejects the components `.` and `..`, which distribution allows.
"""

import re
from typing import Final

_KEY: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+")

_FOREIGN: Final = re.compile(r"[^A-Za-z0-9._/-]")


def is_key(key: str) -> bool:
    """Whether an object may have this key: listings omit all others, which only other programs write."""
    return _KEY.fullmatch(key) is not None


def is_foreign(name: str) -> bool:
    """Whether a folder's entry cannot be a component of a key: `@eaDir`, `lost+found`, `#recycle`."""
    return _FOREIGN.search(name) is not None


def without_foreign(names: list[str]) -> list[str]:
    """Return the entries of a folder that can be components of keys; the same list if all can."""
    # One search over all names takes a fifth of the time of one search per name.
    if not _FOREIGN.search("/".join(names)):
        return names
    return [name for name in names if not is_foreign(name)]


def require_key(key: str) -> str:
    """Return `key` if an object may have it.

    Raises:
        ValueError: `key` is invalid. This is a programming error, never a client's mistake.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a storage key: {key[:256]!r}")
    return key


def require_prefix(prefix: str) -> str:
    """Return the common beginning of all keys below `prefix`: `prefix` and a slash; `/` is the prefix of everything.

    Raises:
        ValueError: no key can lie below `prefix`.
    """
    return "/" if prefix == "/" else require_key(prefix) + "/"
