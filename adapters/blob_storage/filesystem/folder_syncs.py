"""Syncs of folders: after each change, or after all changes of a call if a journal keeps their order.

A call that makes several changes promises that none survives a power cut without those before it. A sync between two
changes ensures that on every file system. ext4 and XFS write all changes of names to one journal, in their order, so
there the syncs may come last: the first of them commits all changes, and the others find nothing to do.
"""

import os
from contextlib import suppress
from typing import Final

from adapters.blob_storage.filesystem.building import sync_folder

_MOUNTS: Final = "/proc/self/mountinfo"
_JOURNALS: Final = "/proc/fs/jbd2"
_DEVICES: Final = "/sys/dev/block"
_NONE: Final = -1


class FolderSyncs:
    """The syncs of one call.

    Args:
        device: the file system that keeps the order of changes; None to sync each folder at once.
    """

    def __init__(self, device: int | None) -> None:
        self._device = device
        self._waiting: dict[str, None] = {}

    @property
    def is_late(self) -> bool:
        """Whether folders are synced only by `settle`."""
        return self._device is not None

    def before(self, folder: str) -> None:
        """Call before a change in a folder that may be on another file system, of which nothing is known."""
        if self._device is not None and device_of(folder) not in {self._device, _NONE}:
            self.leave()

    def leave(self) -> None:
        """Make the earlier changes durable, and each later one at once: it is on another file system."""
        self.settle()
        self._device = None

    def changed(self, folder: str) -> None:
        """Make a change in this folder durable, now or in `settle`."""
        if self._device is None:
            sync_folder(folder)
        else:
            self._waiting[folder] = None

    def settle(self) -> None:
        """Make all changes durable."""
        waiting, self._waiting = self._waiting, {}
        for folder in waiting:
            sync_folder(folder)


def ordered_device(path: str) -> int | None:
    """Return the device number of the file system at `path` if a journal keeps the order of its changes, else None."""
    try:
        device = os.stat(path).st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        kind = _kind_of_mount(name)
        if kind == "xfs" or (kind in {"ext3", "ext4"} and _has_journal(name)):
            return device
    except OSError:
        # Without these files of the kernel, nothing is known.
        return None
    return None


def device_of(path: str) -> int:
    """Return the device number of the file system at `path`, -1 if nothing is there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.stat(path).st_dev
    return _NONE


def _kind_of_mount(device: str) -> str:
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            mount, _, source = line.partition(" - ")
            if mount.split(" ")[2] == device:
                return source.split(" ")[0]
    return ""


def _has_journal(device: str) -> bool:
    """Whether the kernel keeps a journal for the file system on this device: ext4 can do without."""
    name = os.path.basename(os.readlink(f"{_DEVICES}/{device}"))
    return any(journal.rpartition("-")[0] == name for journal in os.listdir(_JOURNALS))
