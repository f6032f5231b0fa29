"""Small files that become durable together: one commit of the file system's journal serves all of them.

`fsync` waits until the journal is committed, unless a commit since the last change of the file has covered it. A file
without blocks is not covered: most file systems assign them when they begin to write. So all files are created and
begin to be written before the first of them is synced. All functions block and raise `OSError`.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from typing import Final

from adapters.blob_storage.filesystem.building import create_file, folders_of, parent_of, show
from adapters.blob_storage.filesystem.folder_syncs import FolderSyncs
from adapters.blob_storage.filesystem.removal import TAKEN, remove

DISTURBED: Final = TAKEN | {errno.ENOENT, errno.EXDEV}
"""Errors of a draft after which each file can be written alone.

Another writer created or removed a folder on the way, the private folder is missing, or part of the root is another
file system.
"""


class Draft:
    """Files that appear by one rename: one file, or all files of a missing folder.

    Args:
        private: the private name under which they are built.
        top: the highest path that is missing, or the path of the only file.
        paths: their paths, at or below `top`.
    """

    def __init__(self, private: str, top: str, paths: Sequence[str]) -> None:
        self.paths = paths
        self._private = private
        self._top = top
        self._descriptors: list[int] = []
        self._is_there = True

    def build(self, contents: Sequence[bytes]) -> None:
        """Create the files, and begin to write them to the disk."""
        places = [path[len(self._top) :] for path in self.paths]
        for folder in dict.fromkeys(folder for place in places for folder in folders_of(self._private, place)):
            os.mkdir(folder)
        for place, content in zip(places, contents, strict=True):
            descriptor = create_file(self._private + place, content)
            self._descriptors.append(descriptor)
            # Despite its name, the flag makes the kernel write dirty pages, and keep them.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Make the content of the files durable."""
        for descriptor in self._descriptors:
            os.fsync(descriptor)
        self._close()

    def show(self, syncs: FolderSyncs) -> None:
        """Let the files appear."""
        if len(self.paths) == 1:
            shown = show(self._private, self._top, self.paths[0], os.rename)
        else:
            os.rename(self._private, self._top)
            shown = self._top
        self._is_there = shown != self._top
        syncs.changed(parent_of(shown))

    def discard(self) -> None:
        """Close the files, and remove what has not appeared. Idempotent."""
        self._close()
        if self._is_there:
            self._is_there = False
            remove(self._private)

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


def sync(drafts: Iterable[Draft]) -> None:
    """Make the content of these drafts durable."""
    for draft in drafts:
        draft.sync()


def discard(drafts: Iterable[Draft]) -> None:
    """Discard these drafts."""
    for draft in drafts:
        draft.discard()
