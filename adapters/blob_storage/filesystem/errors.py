"""The one place where what the operating system says becomes an error of the port."""

import errno
import os
from typing import Final

from adapters.blob_storage.filesystem.reserve import is_full
from adapters.blob_storage.filesystem.root import user
from core.errors import ObjectNotFoundError, StorageError, StorageFullError, StorageUnavailableError

_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
"""What a look at a key that holds no object ends in."""
_REFUSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


def translate(error: OSError, key: str, *, is_lookup: bool = False) -> StorageError:
    """Return the error of the port for `error`, met at `key`.

    In a lookup a missing file, a folder where a file is wanted and the reverse mean that no object is there;
    when something is to be stored they mean that it cannot be.
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
