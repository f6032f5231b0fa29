"""The one place that translates errors of the operating system to errors of the port."""

import errno
import os
from typing import Final

from adapters.blob_storage.filesystem.reserve import is_full
from adapters.blob_storage.filesystem.root import user
from core.errors import ObjectNotFoundError, StorageError, StorageFullError, StorageUnavailableError

_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
"""Errors of a lookup of a key that holds no object."""
_REFUSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


def translate(error: OSError, key: str, *, is_lookup: bool = False) -> StorageError:
    """Return the error of the port for `error`, which occurred at `key`.

    In a lookup, a missing file, a folder instead of a file, or the reverse means that no object exists. In a
    write, the same errors mean that the object cannot be stored.
    """
    if is_lookup and error.errno in _ABSENT:
        return ObjectNotFoundError(key)
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if is_full(error):
        return StorageFullError(f"{reason} at {key}")
    if error.errno in _REFUSED:
        path = f" ({error.filename})" if error.filename else ""
        return StorageUnavailableError(f"{reason} for {user()} at {key}{path}")
    return StorageUnavailableError(f"{reason} at {key}")
