"""Disk space reserved for deletions: a file that shrinks when the disk is full and grows again when there is room.

Deletion and garbage collection write before they free space: leases, removal records, trash entries. While the file is
smaller than its target size, no upload begins, because an upload would take the released space. All processes on the
folder share the file; they only need to agree on its name and size.
"""

import errno
import logging
import os
from contextlib import suppress
from typing import Final

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest round of garbage collection (`OFFLINE_ITEMS_MAX`) writes 9 MiB."""
_SHARE_OF_DISK: Final = 64
"""The reserve takes at most 1/64 of the disk."""
_STEP_BYTES: Final = 64 * 1024
"""The space released in one step: a record, the folders above it, and a margin for other writers on the disk."""


_logger = logging.getLogger(__name__)


class Reserve:
    """The reserve file at `path` on the disk of the folder `root`; used by many threads. All methods block.

    Args:
        root: a folder on the disk in question.
        path: path of the reserve file.
    """

    def __init__(self, root: str, path: str) -> None:
        self._root = root
        self._path = path
        self._is_kept = False
        self._makes = False
        self._wanted = 0
        self._is_in_use = False

    def keep(self, *, makes: bool) -> None:
        """Enable the reserve; with `makes`, also create the file. A folder that is not writable has no reserve."""
        self._is_kept = True
        self._makes = makes
        self.fill()

    @property
    def is_whole(self) -> bool:
        """Whether the file has the size that `fill` last computed. Costs one `stat`, 2 µs."""
        return not self._wanted or self._size() >= self._wanted

    def fill(self) -> bool:
        """Grow the file to its target size; return False if the disk has no room for that."""
        if not self._makes:
            return True
        try:
            self._wanted = self._size_wanted()
            if not self.is_whole:
                self._grow()
        except OSError as error:
            # A folder that is not writable does not count as full.
            return not is_full(error)
        if self._is_in_use:
            _logger.info("disk has free space again: accepting uploads")
            self._is_in_use = False
        return True

    def has_room(self) -> bool:
        """Whether uploads have room: the file is at its target size, and at least one more step of space is free."""
        if not self._makes:
            return True
        state = os.statvfs(self._root)
        return self.fill() and state.f_bavail * state.f_frsize >= _STEP_BYTES

    def release(self) -> bool:
        """Shrink the file by one step; return False if there is nothing to release."""
        size = self._size()
        if not self._is_kept or not size:
            return False
        if not self._is_in_use:
            _logger.warning("disk full: refusing uploads; deletions use the reserved space")
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
                # A partial allocation is not a reliable reserve.
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
    """Whether `error` means that the disk, or the user's quota, is full."""
    return error.errno in _FULL
