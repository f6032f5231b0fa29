"""The folder that the processes of one running server share: files of metrics, sockets by which they are asked."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp, with mode 0700
_PREFIX: Final = "sohu-registry-"
_LOCK: Final = "lock"

_FILE_BYTES: Final = {
    "histogram": 512 * 1024,
    "counter": 128 * 1024,
    "gauge_livesum": 64 * 1024,
    "gauge_livemax": 64 * 1024,
    "gauge_livemin": 64 * 1024,
}
"""The files of one worker's metrics, and how large they are made at once, so that they hardly ever grow.

A file that is mapped and has holes kills its writer (SIGBUS) when the disk is full.
"""


class RuntimeFolder:
    """A private folder; made before the workers are, removed after them.

    Args:
        path: where it is.
        lock: a descriptor that all processes of the server share; the folder is stale once nobody has it open.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.worker = 0
        """The number of this process; set after the fork."""
        self._lock = lock

    @classmethod
    def open(cls, workers: int, *, places: Sequence[Path] | None = None) -> Self:
        """Make the folder, in memory where that is possible, and remove those that killed servers left.

        Args:
            workers: how many processes will write metrics.
            places: where to try, in this order.

        Raises:
            OSError: nowhere is room for it.
        """
        places = places if places is not None else [_MEMORY, Path(tempfile.gettempdir())]
        for place in places[:-1]:
            try:
                return cls._open_in(place, workers)
            except OSError:
                # No such file system here, or it is too small: the next place may do.
                continue
        return cls._open_in(places[-1], workers)

    @classmethod
    def _open_in(cls, place: Path, workers: int) -> Self:
        _remove_stale(place)
        # Found by others under its last name only, when it is locked.
        unlocked = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place))
        try:
            lock = os.open(unlocked / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            for number in range(workers):
                for kind in _FILE_BYTES:
                    _allocate(unlocked, kind, number)
            path = place / unlocked.name.removeprefix(".")
            unlocked.rename(path)
        except BaseException:
            shutil.rmtree(unlocked, ignore_errors=True)
            raise
        return cls(path, lock)

    def socket_of(self, worker: int) -> Path:
        """Return the path of the socket at which a worker is asked about itself."""
        return self.path / f"worker-{worker}.sock"

    @property
    def stacks(self) -> Path:
        """The file to which this worker writes where its threads are, when nothing else works any more."""
        return self.stacks_of(self.worker)

    def stacks_of(self, worker: int) -> Path:
        """Return that file of any worker."""
        return self.path / f"worker-{worker}.stacks"

    def forget(self, worker: int) -> None:
        """Let the gauges of a worker that has ended vanish; what it counted stays.

        Raises:
            OSError: there is no room for the gauges of its successor.
        """
        for kind in _FILE_BYTES:
            if kind.startswith("gauge"):
                _allocate(self.path, kind, worker)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _allocate(folder: Path, kind: str, worker: int) -> None:
    """Put an empty file where there may be one that is being read."""
    file = folder / f"{kind}_{worker}.db"
    new = file.with_suffix(".new")
    with new.open("wb") as content:
        os.posix_fallocate(content.fileno(), 0, _FILE_BYTES[kind])
    new.rename(file)


def _remove_stale(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            if folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            # Somebody else's, or just being removed.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            # Its server lives.
            continue
        finally:
            os.close(lock)
