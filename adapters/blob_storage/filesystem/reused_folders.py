"""Reuse of the folders of ended upload sessions for new sessions.

A session is a folder with a small file in it, which exists for a tenth of a second, for each blob of an image. Creating
and removing both costs a sixth of the processor time of pushing a small image: when it allocates an inode, a file
system without a journal skips recently freed inodes one by one, and a journaling one logs each change.
"""

import os
import stat
from collections import deque
from contextlib import suppress
from typing import Final

_FOLDERS_MAX: Final = 512
"""About the number of folders that pushes of small images free between two sweeps."""
_NAMES_MAX: Final = 8
"""Maximum number of file names for which folders are kept."""
_LINKS_OF_LEAF: Final = 2
"""Number of links to a folder without folders in it; some file systems count 1 for all folders."""
_CONTENT_BYTES_MAX: Final = 4096
"""The space of a larger file is worth freeing."""


class ReusedFolders:
    """Private folders that hold one small file each and nothing else; for any number of threads of one process."""

    def __init__(self) -> None:
        self._folders: dict[str, deque[str]] = {}
        """By file name; only names that `take` was called with are present."""

    def keep(self, private: str) -> bool:
        """Take ownership of the folder at `private` if it can be reused; return whether it can."""
        try:
            if os.lstat(private).st_nlink > _LINKS_OF_LEAF:
                return False
            (name,) = os.listdir(private)
            state = os.lstat(f"{private}/{name}")
        except (OSError, ValueError):
            # Removed, a file, empty, or with several entries.
            return False
        folders = self._folders.get(name)
        is_plain = stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and state.st_size <= _CONTENT_BYTES_MAX
        if folders is None or len(folders) >= _FOLDERS_MAX or not is_plain:
            return False
        folders.append(private)
        return True

    def take(self, name: str, content: bytes) -> str | None:
        """Return a kept folder that now holds the file `name` with `content`, not yet durable, or None."""
        folders = self._folders.get(name)
        if folders is None and len(self._folders) < _NAMES_MAX:
            self._folders[name] = deque()
        while folders:
            # Another thread may have taken the last folder; another process may have removed it as a leftover.
            with suppress(IndexError, FileNotFoundError):
                private = folders.popleft()
                _rewrite(f"{private}/{name}", content)
                return private
        return None

    def drain(self) -> list[str]:
        """Give up all folders, and return them for removal."""
        return [folders.popleft() for folders in self._folders.values() for _ in range(len(folders))]


def _rewrite(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
