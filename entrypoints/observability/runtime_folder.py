"""Folder shared by the processes of one running server: metrics files, and sockets for queries between workers."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from config.container import allocate_metrics, reset_gauges

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - mkdtemp creates the folders in it, with mode 0700
_PREFIX: Final = "sohu-registry-"
_LOCK: Final = "lock"


class RuntimeFolder:
    """Private folder, created before the workers start and removed after they end.

    Args:
        path: path of the folder.
        lock: descriptor shared by all processes of the server; the folder is stale once no process has it open.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.worker = 0
        """Number of this process; set after the fork."""
        self._lock = lock

    @classmethod
    def open(cls, workers: int, *, places: Sequence[Path] | None = None) -> Self:
        """Create the folder, in memory if possible, and remove the folders of killed servers.

        Args:
            workers: number of processes that will write metrics.
            places: parent folders to try, in order.

        Raises:
            OSError: the folder fits in none of the places.
        """
        places = places if places is not None else [_MEMORY, Path(tempfile.gettempdir())]
        for place in places[:-1]:
            try:
                return cls._open_in(place, workers)
            except OSError:
                # The file system does not exist or is too small: try the next place.
                continue
        return cls._open_in(places[-1], workers)

    @classmethod
    def _open_in(cls, place: Path, workers: int) -> Self:
        _remove_stale(place)
        # The final name must not exist before the lock is held, or other servers would remove the folder as stale.
        unlocked = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place))
        try:
            lock = os.open(unlocked / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            for number in range(workers):
                allocate_metrics(unlocked, number)
            path = place / unlocked.name.removeprefix(".")
            unlocked.rename(path)
        except BaseException:
            shutil.rmtree(unlocked, ignore_errors=True)
            raise
        return cls(path, lock)

    def socket_of(self, worker: int) -> Path:
        """Return the path of the socket at which a worker answers queries about itself."""
        return self.path / f"worker-{worker}.sock"

    @property
    def stacks(self) -> Path:
        """File to which this worker writes the stacks of its threads, even if its event loop is stuck."""
        return self.stacks_of(self.worker)

    def stacks_of(self, worker: int) -> Path:
        """Return the stacks file of any worker."""
        return self.path / f"worker-{worker}.stacks"

    def forget(self, worker: int) -> None:
        """Reset the gauges of a worker that has ended; its counters remain.

        Raises:
            OSError: there is no room for the gauges of its successor.
        """
        reset_gauges(self.path, worker)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_stale(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            if folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            # The folder belongs to another user or is being removed.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            # Its server is still running.
            continue
        finally:
            os.close(lock)
