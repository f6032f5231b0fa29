"""Folders that are used again: what one upload session left becomes the next one's.

A session is a folder with a small file in it, for a tenth of a second, for each blob of an image. Making and removing
those two costs a sixth of the processor time of pushing a small image: a file system without a journal looks past every
inode that was freed lately, one by one, whenever it makes a new one, and one with a journal writes all of it down.
"""

import os
import stat
from collections import deque
from contextlib import suppress
from typing import Final

_FOLDERS_MAX: Final = 512
"""About as many as pushes of small images free between two sweeps."""
_NAMES_MAX: Final = 8
"""How many names of files are known to be asked for."""
_CONTENT_BYTES_MAX: Final = 4096
"""What a larger file occupies is worth freeing."""


class ReusedFolders:
    """Private folders that hold one small file each and nothing else; for any number of threads of one process."""

    def __init__(self) -> None:
        self._folders: dict[str, deque[str]] = {}
        """By the name of the file, as far as somebody asked for one that is called so."""

    def keep(self, private: str) -> bool:
        """Take over the folder at `private` if it is of use; return whether it was."""
        try:
            (name,) = os.listdir(private)
            state = os.lstat(f"{private}/{name}")
        except (OSError, ValueError):
            # Gone, a file, empty, or with more in it.
            return False
        folders = self._folders.get(name)
        is_plain = stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and state.st_size <= _CONTENT_BYTES_MAX
        if folders is None or len(folders) >= _FOLDERS_MAX or not is_plain:
            return False
        folders.append(private)
        return True

    def take(self, name: str, content: bytes) -> str | None:
        """Return a private folder that holds the file `name` with this content, not yet durable, or None."""
        folders = self._folders.get(name)
        if folders is None and len(self._folders) < _NAMES_MAX:
            self._folders[name] = deque()
        while folders:
            # Another thread may have taken the last one; another process may have removed it as a leftover.
            with suppress(IndexError, FileNotFoundError):
                private = folders.popleft()
                _rewrite(f"{private}/{name}", content)
                return private
        return None

    def drain(self) -> list[str]:
        """Give up all folders, and return them to be removed."""
        return [folders.popleft() for folders in self._folders.values() for _ in range(len(folders))]


def _rewrite(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
