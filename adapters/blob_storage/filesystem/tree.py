"""Atomic changes to the folder, durable when they return.

All functions block and raise `OSError`. Files and folders that are being built or removed lie under a private name in
`<root>/.tmp`: distribution never reads there, and one rename makes them appear or vanish. Leftovers of a crash are
harmless and removed by a later start.

Power cuts: a file is synced before the rename that makes it visible, and the parent folder after the rename. Folders
created on the way, by this process or by another writer a moment ago, are not synced one by one: journals commit in
order, so the folders are durable no later than their content.
"""

import errno
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count, takewhile
from typing import Final

from adapters.blob_storage.filesystem.removal import TAKEN, prune_below, remove, remove_if_empty
from adapters.blob_storage.filesystem.reused_folders import ReusedFolders
from core.errors import ObjectNotFoundError

PRIVATE: Final = ".tmp"
RESERVE: Final = "reserve"
"""The name of the reserve's file in the private folder, which is not a leftover (see `reserve`)."""
SPOOL: Final = "spool"
"""The name of a folder in the private folder that belongs to the pull-through cache, which cleans it itself."""
_KEPT: Final = {RESERVE, SPOOL}
_LEFTOVER_AGE_SECONDS: Final = 24 * 3600
_ATTEMPTS: Final = 1000
"""How often a change is retried because its folder was deleted by another process, before this is an error."""

_STRAY: Final = re.compile(r".+\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp")

_logger = logging.getLogger(__name__)


def is_stray(name: str) -> bool:
    """Whether `name` is that of a temporary file that distribution 3 leaves when killed during a write."""
    return name.endswith(".tmp") and _STRAY.fullmatch(name) is not None


class Tree:
    """The folder `root`, which any number of threads and processes change at once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._private = f"{root}/{PRIVATE}"
        self._reused = ReusedFolders()
        self._number = count()
        self._session = os.urandom(16).hex()

    def prepare(self) -> None:
        """Remove leftovers of crashes: entries older than a day, which no process still uses."""
        oldest = time.time() - _LEFTOVER_AGE_SECONDS
        with suppress(FileNotFoundError), os.scandir(self._private) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.name not in _KEPT and entry.stat(follow_symlinks=False).st_mtime < oldest:
                        self._clean(entry.path)

    def write(self, path: str, content: bytes, *, durable: bool = True) -> None:
        """Write `content` to `path`; without `durable`, a power cut soon after may undo the write."""
        self._put(path, content, os.rename, durable=durable)

    def write_all(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write these contents to these paths in order, each durable before the next one appears."""
        position = 0
        while position < len(files):
            written = self._write_together(files[position:])
            if not written:
                self.write(*files[position])
            position += written or 1

    def write_then_remove(self, files: Sequence[tuple[str, bytes]], trees: Sequence[str], paths: Sequence[str]) -> None:
        """Do `write_all`, then `remove_trees`, then `unlink`."""
        self.write_all(files)
        self.remove_trees(trees)
        self.unlink(paths)

    def create(self, path: str, content: bytes) -> bool:
        """Write `content` to `path` unless the path exists; return whether it was written.

        Uses a hard link, the only operation that appears atomically and never replaces anything; file systems without
        hard links cannot do this.
        """
        try:
            self._put(path, content, os.link, durable=True)
        except FileExistsError:
            return False
        return True

    def _put(self, path: str, content: bytes, place: Callable[[str, str], None], *, durable: bool) -> None:
        for _ in range(_ATTEMPTS):
            try:
                self._write(path, content, place, durable=durable)
            except FileNotFoundError:
                # `remove_trees` removed a folder above at the same time, or the private folder does not exist yet.
                os.makedirs(self._private, exist_ok=True)
            else:
                return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def rename(self, source: str, target: str) -> None:
        """Move the file at `source`, whose content is already synced, to `target`.

        Raises:
            ObjectNotFoundError: nothing is at `source`.
        """
        folder = _parent(target)
        for _ in range(_ATTEMPTS):
            try:
                # Most targets are new, and usually only the lowest folder is missing.
                with suppress(FileExistsError):
                    os.mkdir(folder)
                os.rename(source, target)
            except FileNotFoundError:
                if not os.path.lexists(source):
                    raise ObjectNotFoundError(source[len(self.root) :]) from None
                make_parents(target)
                continue
            sync_folder(folder)
            return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def unlink(self, paths: Sequence[str]) -> None:
        """Remove the files at `paths`; folders stay, even if they are now empty, as in distribution."""
        changed = set()
        for path in paths:
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                os.unlink(path)
                changed.add(_parent(path))
        for folder in changed:
            sync_folder(folder)

    def remove_trees(self, paths: Sequence[str]) -> None:
        """Remove the trees at `paths`: each vanishes at once by a rename to a private name, then is deleted."""
        hidden, changed = [], set()
        for path in paths:
            private = self._hide(path)
            if private is not None:
                hidden.append(private)
                changed.add(_parent(path))
        for folder in changed:
            sync_folder(folder)
        for private in hidden:
            if not self._reused.keep(private):
                remove(private, is_folder=True)

    def clean_up(self) -> None:
        """Remove the folders kept for reuse."""
        for private in self._reused.drain():
            remove(private)

    def prune(self, paths: Sequence[str], top: str) -> None:
        """Remove empty folders at and below `paths`, then those above that became empty, up to `top`, which stays.

        Only `rmdir` is used, which fails on a folder that is not empty; writers create missing folders again.
        """
        for path in paths:
            is_gone = prune_below(path)
            parent = _parent(path)
            while is_gone and parent.startswith(f"{top}/"):
                is_gone = remove_if_empty(parent)
                parent = _parent(parent)

    def remove_all(self) -> None:
        """Remove everything in the root except the private folder."""
        with os.scandir(self.root) as entries:
            paths = [entry.path for entry in entries if entry.name != PRIVATE]
        self.remove_trees(paths)

    def _write(self, path: str, content: bytes, place: Callable[[str, str], None], *, durable: bool) -> None:
        top = _first_missing(path)
        relative = path[len(top) :]
        # The file needs a new folder with no other entry; a reused folder is as good.
        reused = self._reused.take(relative[1:], content) if relative.rfind("/") == 0 and not durable else None
        private = reused or self._new_name()
        try:
            if reused is None:
                build(private, relative, content, durable=durable)
            shown = show(private, top, path, place)
        except OSError as error:
            remove(private)
            if error.errno != errno.EXDEV:
                raise
            _write_beside(path, content, place)
            return
        if shown != top or place is os.link:
            remove(private)
        if durable:
            sync_folder(_parent(shown))

    def _write_together(self, files: Sequence[tuple[str, bytes]]) -> int:
        """Write the first files that lie below the same missing folder; return their number, 0 if there are not two.

        The folder appears with all of them, and one rename and one sync of its parent serve all.
        """
        shared = os.path.commonpath([path for path, _ in files[:2]])
        if len(files) == 1 or os.path.lexists(shared):
            return 0
        top = _first_missing(f"{shared}/")
        together = list(takewhile(lambda file: file[0].startswith(f"{top}/"), files))
        private = self._new_name()
        try:
            build_all(private, [(path[len(top) :], content) for path, content in together])
            os.rename(private, top)
        except OSError as error:
            remove(private)
            if error.errno in {*TAKEN, errno.ENOENT, errno.EXDEV}:
                # Another writer created or removed a folder on the way, or part of the root is another file system.
                return 0
            raise
        sync_folder(_parent(top))
        return len(together)

    def _hide(self, path: str) -> str | None:
        """Rename the entry at `path` to a private name, and return that name; None if there is nothing."""
        private = self._new_name()
        while True:
            try:
                os.rename(path, private)
            except NotADirectoryError:
                return None
            except FileNotFoundError:
                if not os.path.lexists(path):
                    return None
                # `path` exists, so the private folder is missing.
                os.makedirs(self._private, exist_ok=True)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # Another file system is mounted, or linked to, below the root.
                remove(path)
                return path
            else:
                return private

    def _new_name(self) -> str:
        # Unique among processes, also those that were forked from one with this object.
        return f"{self._private}/{self._session}-{os.getpid()}-{next(self._number)}"

    def _clean(self, path: str) -> None:
        try:
            remove(path)
        except OSError as error:
            # A read-only folder can still be served; leftovers must not prevent a start.
            _logger.warning("cannot remove temporary file %s: %s", path, error.strerror)


def sync_folder(path: str) -> None:
    """Make the entries of a folder durable; do nothing if the folder no longer exists."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync folders; on them no folder entry can be lost.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _first_missing(path: str) -> str:
    """Return the highest folder above `path` that does not exist, or `path` itself if its folder does."""
    while True:
        parent = _parent(path)
        if not parent or os.path.lexists(parent):
            return path
        path = parent


def build(private: str, relative: str, content: bytes, *, durable: bool) -> None:
    """Create the file `private + relative`, synced if `durable`, and the folders on the way to it."""
    for folder in _folders_of(private, relative):
        os.mkdir(folder)
    _write_new(private + relative, content, durable=durable)


def build_all(private: str, files: Sequence[tuple[str, bytes]]) -> None:
    """Create the files `private + relative`, synced, and the folders on the way to them."""
    for folder in dict.fromkeys(folder for relative, _ in files for folder in _folders_of(private, relative)):
        os.mkdir(folder)
    for relative, content in files:
        _write_new(private + relative, content, durable=True)


def _folders_of(private: str, relative: str) -> list[str]:
    return [private + relative[:end] for end, character in enumerate(relative) if character == "/"]


def _write_new(path: str, content: bytes, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def show(private: str, top: str, path: str, place: Callable[[str, str], None]) -> str:
    """Rename what was built for `top` into place; return the folder or file that appeared.

    Another writer may have created `top` after it was found missing. Then only the next deeper part is renamed into
    that folder. `place` puts the file itself: it replaces an existing file, or fails if there is one.
    """
    origin = len(top)
    while True:
        try:
            # Renaming a folder onto a folder that is not empty fails.
            (place if top == path else os.rename)(private + top[origin:], top)
        except OSError as error:
            if error.errno not in TAKEN or top == path:
                raise
            deeper = path.find("/", len(top) + 1)
            top = path if deeper < 0 else path[:deeper]
        else:
            return top


def make_parents(path: str) -> str:
    """Create the folders above `path` in place; return the lowest."""
    folder = _parent(path)
    os.makedirs(folder, exist_ok=True)
    return folder


def _write_beside(path: str, content: bytes, place: Callable[[str, str], None]) -> None:
    """Write with a temporary file next to `path`, for a `.tmp` on another file system; folders appear early."""
    folder = make_parents(path)
    # The pattern of distribution 3's temporary files, which neither program treats as objects.
    temporary = f"{path}.{uuid.uuid4()}.tmp"
    try:
        _write_new(temporary, content, durable=True)
        place(temporary, path)
    finally:
        _unlink(temporary)
    sync_folder(folder)
