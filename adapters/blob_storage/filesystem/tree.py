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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count, takewhile
from typing import Final

from adapters.blob_storage.filesystem.building import (
    build,
    first_missing,
    make_parents,
    parent_of,
    show,
    sync_folder,
    write_beside,
)
from adapters.blob_storage.filesystem.drafts import DISTURBED, Draft, discard, sync
from adapters.blob_storage.filesystem.folder_syncs import FolderSyncs, device_of, ordered_device
from adapters.blob_storage.filesystem.removal import prune_below, remove, remove_if_empty
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

_DRAFTED_MAX: Final = 16
"""Maximum number of files that are open at once."""
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
        self._ordered_device: int | None = None

    def prepare(self) -> None:
        """Remove leftovers of crashes: entries older than a day, which no process still uses."""
        self._ordered_device = ordered_device(self.root)
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
        """Write these contents to these paths in order; none survives a power cut without those before it."""
        with self._syncing() as syncs:
            self._write_all(files, syncs)

    def commit(self, descriptor: int, source: str, target: str, then: Sequence[tuple[str, bytes]]) -> None:
        """Make the open file at `source` durable and move it to `target`, then do `write_all`.

        Raises:
            ObjectNotFoundError: nothing is at `source`.
        """
        with self._syncing() as syncs:
            drafts = self._draft(then[:_DRAFTED_MAX])
            try:
                os.fsync(descriptor)
                sync(drafts)
                syncs.before(parent_of(source))
                self._rename(source, target, syncs)
            except BaseException:
                discard(drafts)
                raise
            self._write_all(then[self._show_all(drafts, syncs) :], syncs)

    def write_then_remove(self, files: Sequence[tuple[str, bytes]], trees: Sequence[str], paths: Sequence[str]) -> None:
        """Do `write_all`, then `remove_trees`, then `unlink`; no step survives a power cut without those before it."""
        with self._syncing() as syncs:
            self._write_all(files, syncs)
            self._remove_trees(trees, syncs)
            self._unlink(paths, syncs)

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
        self._rename(source, target, FolderSyncs(None))

    def _rename(self, source: str, target: str, syncs: FolderSyncs) -> None:
        folder = parent_of(target)
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
            syncs.changed(folder)
            return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def unlink(self, paths: Sequence[str]) -> None:
        """Remove the files at `paths`; folders stay, even if they are now empty, as in distribution."""
        self._unlink(paths, FolderSyncs(None))

    def _unlink(self, paths: Sequence[str], syncs: FolderSyncs) -> None:
        changed: dict[str, bool] = {}
        for path in paths:
            folder = parent_of(path)
            if folder not in changed:
                syncs.before(folder)
                changed[folder] = False
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                os.unlink(path)
                changed[folder] = True
        for folder, is_changed in changed.items():
            if is_changed:
                syncs.changed(folder)

    def remove_trees(self, paths: Sequence[str], *, durable: bool = True) -> None:
        """Remove the trees at `paths`: each vanishes at once by a rename to a private name, then is deleted.

        Without `durable`, a power cut soon after may bring them back, whole or in part.
        """
        self._remove_trees(paths, FolderSyncs(None), durable=durable)

    def _remove_trees(self, paths: Sequence[str], syncs: FolderSyncs, *, durable: bool = True) -> None:
        hidden, changed = [], set()
        for path in paths:
            private = self._hide(path, syncs)
            if private is not None:
                hidden.append(private)
                changed.add(parent_of(path))
        for folder in changed if durable else ():
            syncs.changed(folder)
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
            parent = parent_of(path)
            while is_gone and parent.startswith(f"{top}/"):
                is_gone = remove_if_empty(parent)
                parent = parent_of(parent)

    def remove_all(self) -> None:
        """Remove everything in the root except the private folder."""
        with os.scandir(self.root) as entries:
            paths = [entry.path for entry in entries if entry.name != PRIVATE]
        self.remove_trees(paths)

    def _write(self, path: str, content: bytes, place: Callable[[str, str], None], *, durable: bool) -> None:
        top = first_missing(path)
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
            write_beside(path, content, place)
            return
        if shown != top or place is os.link:
            remove(private)
        if durable:
            sync_folder(parent_of(shown))

    def _draft(self, files: Sequence[tuple[str, bytes]]) -> list[Draft]:
        """Build files under private names; empty if that is not possible now, or not worth it."""
        drafts: list[Draft] = []
        try:
            while files:
                shared = os.path.commonpath([path for path, _ in files[:2]])
                if len(files) == 1 or os.path.lexists(shared):
                    top, together = first_missing(files[0][0]), list(files[:1])
                else:
                    # The folder appears with all of its files.
                    top = first_missing(f"{shared}/")
                    together = list(takewhile(partial(_is_below, f"{top}/"), files))
                drafts.append(Draft(self._new_name(), top, [path for path, _ in together]))
                drafts[-1].build([content for _, content in together])
                files = files[len(together) :]
        except BaseException as error:
            discard(drafts)
            if isinstance(error, OSError) and error.errno in DISTURBED:
                return []
            raise
        return drafts

    @contextmanager
    def _syncing(self) -> Iterator[FolderSyncs]:
        """Yield the syncs of a call, which are done when the block ends, also by an error."""
        # Another file system may have been mounted over the root since the start.
        device = self._ordered_device
        is_same = device is not None and device_of(self._private) == device
        syncs = FolderSyncs(device if is_same else None)
        try:
            yield syncs
        finally:
            syncs.settle()

    def _write_all(self, files: Sequence[tuple[str, bytes]], syncs: FolderSyncs) -> None:
        position = 0
        while position < len(files):
            some = files[position : position + _DRAFTED_MAX]
            written = self._write_drafts(some, syncs) if len(some) > 1 or syncs.is_late else 0
            if not written:
                # Perhaps on another file system.
                syncs.settle()
                self.write(*files[position])
            position += written or 1

    def _write_drafts(self, files: Sequence[tuple[str, bytes]], syncs: FolderSyncs) -> int:
        """Write files of which one sync makes all durable; return how many were written."""
        drafts = self._draft(files)
        try:
            sync(drafts)
        except BaseException:
            discard(drafts)
            raise
        return self._show_all(drafts, syncs)

    def _show_all(self, drafts: Sequence[Draft], syncs: FolderSyncs) -> int:
        """Show the files of drafts whose content is durable, in order; return how many files were shown, and stay."""
        shown = 0
        try:
            for draft in drafts:
                draft.show(syncs)
                shown += len(draft.paths)
        except OSError as error:
            if error.errno not in DISTURBED:
                raise
        finally:
            discard(drafts)
        return shown

    def _hide(self, path: str, syncs: FolderSyncs) -> str | None:
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
                syncs.leave()
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


def _is_below(folder: str, file: tuple[str, bytes]) -> bool:
    return file[0].startswith(folder)
