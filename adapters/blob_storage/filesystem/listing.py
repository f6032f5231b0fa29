"""Listings of the folder, in the port's order. All functions block and raise `OSError`."""

import heapq
import os
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from adapters.blob_storage.filesystem.tree import PRIVATE, is_stray
from adapters.blob_storage.keys import is_foreign, without_foreign

_LARGE: Final = 1000
"""The smallest number of names for which a listing is cached."""

_REMEMBERED_NAMES_MAX: Final = 200_000
"""About 20 MB at the length of digests, half of that at the length of repository names."""

_SETTLED_SECONDS: Final = 2.0
"""More than the timestamp granularity of any file system.

A folder that was changed more recently may change again without a new modification time.
"""


_REMEMBERED_NATURES_MAX: Final = 20_000
"""About 9 MB. A full cache keeps its first entries.

Repositories are many, change seldom, and are all listed in turn: an LRU cache would always miss.
"""

_Version = tuple[int, int]


class _Listing(NamedTuple):
    version: _Version
    names: list[str]


class _Nature(NamedTuple):
    version: _Version
    is_marked: bool
    """Whether the folder has a marked child."""
    only_mark: str
    """The only marked child; empty if there is none or more than one."""
    is_parent: bool
    """Whether the folder has any other child."""


_NOTHING: Final = _Nature((0, 0), is_marked=False, only_mark="", is_parent=False)


class Listings:
    """Sorted names in folders; large listings are cached until the folder changes. Used by many threads.

    A page of the catalog reads the one folder that holds all repositories, which takes 80 ms for 100,000 names, and
    then each repository's own folder, which takes 8 µs. Checking a folder's modification time takes 1.5 µs.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._listings: OrderedDict[str, _Listing] = OrderedDict()
        self._natures: dict[str, dict[str, _Nature]] = {}
        """By mark and path."""
        self._lock = threading.Lock()

    def names(self, path: str) -> list[str]:
        """Return the names in the folder at `path`, ascending, not to be modified; empty if there is no folder."""
        known = self._listings.get(path)
        try:
            if known is not None and known.version == _version(path):
                return known.names
            names = without_foreign(os.listdir(path))
            names = [name for name in names if not (name.endswith(".tmp") and self._is_hidden(path, name))]
            names.sort()
            if len(names) >= _LARGE:
                self._remember(path, names)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return names

    def names_after(self, path: str, after: str) -> list[str]:
        """Return the names in the folder at `path` that are greater than `after`."""
        names = self.names(path)
        return names[bisect_right(names, after) :]

    def marked(self, path: str, mark: str, after: str, passing_over: str = "") -> Generator[str, None, None]:
        """Yield the paths below `path` that have a child beginning with `mark` and are greater than `after`, ascending.

        A path whose only such child is `passing_over` is left out.

        A folder's own path and the paths below it are not adjacent in this order: `a`, `a-b`, `a/b`, because `-` sorts
        before `/`. So the content of a folder is queued under the text `a/` and merged with the names that follow.
        """
        names = self.names(path)
        if not names:
            return
        known = self._natures.setdefault(mark, {})
        waiting = [f"{name}/" for name in _folders_reached_into(names, after) if not name.startswith(mark)]
        heapq.heapify(waiting)
        position = bisect_right(names, after)
        with _opened(path) as folder:
            while position < len(names) or waiting:
                if waiting and (position == len(names) or waiting[0] < names[position]):
                    inner = heapq.heappop(waiting)
                    rest = after.removeprefix(inner) if after.startswith(inner) else ""
                    for found in self.marked(f"{path}/{inner[:-1]}", mark, rest, passing_over):
                        yield inner + found
                    continue
                name = names[position]
                position += 1
                if name.startswith(mark):
                    continue
                nature = self._nature(known, f"{path}/{name}", mark, folder)
                if nature.is_marked and not (passing_over and nature.only_mark == passing_over):
                    yield name
                if nature.is_parent:
                    heapq.heappush(waiting, f"{name}/")

    def objects_within(self, path: str, directory: str) -> Generator[tuple[str, os.stat_result], None, None]:
        """Yield the path and state of every file below a folder named `directory` in each of the paths of `marked`."""
        for found in self.marked(path, directory[0], ""):
            yield from self.objects(f"{path}/{found}/{directory}")

    def objects(self, path: str) -> Generator[tuple[str, os.stat_result], None, None]:
        """Yield the path and state of every file below the folder at `path`."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
            for entry in entries:
                inner = f"{path}/{entry.name}"
                if is_foreign(entry.name):
                    continue
                if entry.name.endswith(".tmp") and self._is_hidden(path, entry.name):
                    continue
                if entry.is_dir():
                    yield from self.objects(inner)
                else:
                    with suppress(FileNotFoundError):
                        yield inner, entry.stat()

    def _is_hidden(self, path: str, name: str) -> bool:
        if path == self._root and name == PRIVATE:
            return True
        # A tag may have such a name, but a tag is a folder.
        return is_stray(name) and not os.path.isdir(f"{path}/{name}")

    def _nature(self, natures: dict[str, _Nature], path: str, mark: str, folder: int | None) -> _Nature:
        known = natures.get(path)
        try:
            # By name relative to the open folder: resolving the path from the root would take a third of a listing.
            state = os.stat(path.rpartition("/")[2], dir_fd=folder) if folder is not None else os.stat(path)
            version = (state.st_ino, state.st_mtime_ns)
            if known is not None and known.version == version:
                return known
            names = self.names(path)
        except (FileNotFoundError, NotADirectoryError):
            return _NOTHING
        first = bisect_left(names, mark)
        marks = bisect_left(names, chr(ord(mark) + 1)) - first
        # Interned: most are the same name, and thousands of natures are remembered.
        only_mark = sys.intern(names[first]) if marks == 1 else ""
        nature = _Nature(version, is_marked=marks > 0, only_mark=only_mark, is_parent=len(names) > marks)
        if (known is not None or len(natures) < _REMEMBERED_NATURES_MAX) and _is_settled(version):
            natures[path] = nature
        return nature

    def _remember(self, path: str, names: list[str]) -> None:
        version = _version(path)
        # If an entry had come or gone while the names were read, the folder's modification time would now be recent.
        if not _is_settled(version):
            return
        with self._lock:
            self._listings[path] = _Listing(version, names)
            self._listings.move_to_end(path)
            total = sum(len(known.names) for known in self._listings.values())
            while total > _REMEMBERED_NAMES_MAX:
                total -= len(self._listings.popitem(last=False)[1].names)


@contextmanager
def _opened(path: str) -> Iterator[int | None]:
    """Yield a descriptor of the folder, or None if it has just been removed."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield folder
    finally:
        os.close(folder)


def _version(path: str) -> _Version:
    """Return a value that changes with the folder's entries: its inode number and modification time."""
    state = os.stat(path)
    return state.st_ino, state.st_mtime_ns


def _is_settled(version: _Version) -> bool:
    return time.time() - version[1] / 1e9 > _SETTLED_SECONDS


def _folders_reached_into(names: list[str], after: str) -> Iterator[str]:
    """Yield the names up to `after` below which paths greater than `after` may lie.

    `name/…` is greater than `after`, or begins it, only if `after` begins with `name` and the next character of
    `after`, if any, is at most a slash.
    """
    component = after.partition("/")[0][:255]
    for end in range(1, len(component) + 1):
        name = component[:end]
        position = bisect_left(names, name)
        if names[position : position + 1] == [name] and after[end : end + 1] <= "/":
            yield name
