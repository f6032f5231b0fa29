"""Space that is kept for deleting: a file that shrinks when the disk is full, and grows again when there is room.

Deleting and collecting write before they free anything: leases, records of what goes, entries of the trash. As long as
the file is smaller than it should be, no upload begins: it would take what was released. All processes on the folder
share the file, and need not agree on more than its name and its size.
"""

import errno
import logging
import os
from contextlib import suppress
from typing import Final

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest round of collection (`OFFLINE_ITEMS_MAX`) takes 9 MiB."""
_SHARE_OF_DISK: Final = 64
"""A small disk gives no more than this part."""
_STEP_BYTES: Final = 64 * 1024
"""What is released at once: a record and the folders above it. Others on the disk take the rest of it."""


_logger = logging.getLogger(__name__)


class Reserve:
    """The file at `path` on the disk of the folder `root`; used by many threads. All of this blocks.

    Args:
        root: the folder whose disk it is.
        path: where the file lies.
    """

    def __init__(self, root: str, path: str) -> None:
        self._root = root
        self._path = path
        self._is_kept = False
        self._makes = False
        self._wanted = 0
        self._is_in_use = False

    def keep(self, *, makes: bool) -> None:
        """Use the file from now on; with `makes`, have it. A folder that cannot be written has none."""
        self._is_kept = True
        self._makes = makes
        self.fill()

    @property
    def is_whole(self) -> bool:
        """Whether the file is as large as `fill` found that it should be. One look at it, 2 µs."""
        return not self._wanted or self._size() >= self._wanted

    def fill(self) -> bool:
        """Make the file as large as it should be; return False where the disk has no room for that."""
        if not self._makes:
            return True
        try:
            self._wanted = self._size_wanted()
            if not self.is_whole:
                self._grow()
        except OSError as error:
            # A folder that cannot be written is none that is full.
            return not is_full(error)
        if self._is_in_use:
            _logger.info("the disk has room again: uploads are accepted")
            self._is_in_use = False
        return True

    def has_room(self) -> bool:
        """Whether uploads find room: the file is whole, and more than a step of space is left beside it."""
        if not self._makes:
            return True
        state = os.statvfs(self._root)
        return self.fill() and state.f_bavail * state.f_frsize >= _STEP_BYTES

    def release(self) -> bool:
        """Make the file smaller; return False where there is nothing to release."""
        size = self._size()
        if not self._is_kept or not size:
            return False
        if not self._is_in_use:
            _logger.warning("the disk is full: deleting goes on in the reserve, and uploads are refused")
            self._is_in_use = True
        with suppress(FileNotFoundError):
            os.truncate(self._path, max(0, size - _STEP_BYTES))
        return True

    def _grow(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            try:
                os.posix_fallocate(descriptor, size, self._size_wanted() - size)
            except OSError:
                # What was allocated in part is not a reserve that can be relied on.
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def _size_wanted(self) -> int:
        state = os.statvfs(self._root)
        share = state.f_blocks * state.f_frsize // _SHARE_OF_DISK
        return min(BYTES_MAX, share - share % _STEP_BYTES)


def is_full(error: OSError) -> bool:
    """Whether an error means that the disk, or the user's share of it, is full."""
    return error.errno in _FULL
