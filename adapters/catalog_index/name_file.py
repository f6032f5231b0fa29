"""Text file of repository names: one a line, each line ended by a newline, changed in place under a lock.

The file is often a single file mounted from the host, so that a rename fails and the folder is not writable. So the
file is its own journal: a new set is first appended after the old one as

    #replacement <length> <sha256 of the set>
    <the set, one name a line>

and is valid as soon as it is complete; only then does it overwrite the old set, and the rest is truncated. A process
killed in between leaves either the old set or the new one, never a mixture. A last line without a newline is
incomplete: it was never acknowledged, may be the beginning of a longer name, and is ignored. Lines that are not names
(such as comments) and duplicates are ignored too.

A missing file is not mounted, so its folder is writable. The file is written as `.<name>.unfinished`, and renamed when
it is complete. The lock on that file excludes other processes that create it. A killed process leaves it, and the next
one overwrites it.

All functions block; `local_file` runs them in a thread.
"""

import fcntl
import hashlib
import os
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import CatalogUnavailableError, NameInvalidError
from core.model.names import RepositoryName

_REPLACEMENT: Final = re.compile(rb"^#replacement (\d{1,18}) ([0-9a-f]{64})\n", re.MULTILINE)
_LOCK_POLL_SECONDS: Final = 0.01
_TICK_SECONDS: Final = 0.002
_TICKS_MAX: Final = 1000


class NameFile:
    """The file, and a sorted copy of its names in memory; used by one thread at a time.

    Several processes may use the same file: changes hold an exclusive `flock`, reads a shared one.

    Args:
        path: the file; only `create` creates it.
        lock_seconds_max: how long to wait for another process that holds the lock.
    """

    def __init__(self, path: Path, *, lock_seconds_max: float) -> None:
        self._path = path
        self._lock_seconds_max = lock_seconds_max
        self._names: list[str] = []
        self._seen: tuple[int, ...] | None = None
        self._whole_bytes = 0
        self._is_clean = True
        self._is_tidy = True

    def require_creatable(self) -> None:
        """Check that the missing file can be created, without creating it.

        Raises:
            OSError: the file cannot be created.
        """
        with self._unfinished():
            pass

    def create(self, names: Iterable[str]) -> bool:
        """Create the missing file with these names, all at once; return False if it is there already.

        Raises:
            OSError: the file cannot be created.
        """
        target = self._path.resolve()
        with self._unfinished() as descriptor:
            if descriptor is None:
                return False
            os.ftruncate(descriptor, 0)
            write_all(descriptor, "".join(f"{name}\n" for name in sorted(names)).encode())
            os.fsync(descriptor)
            _unfinished_path(target).rename(target)
            _sync_folder(target.parent)
            return True

    def names(self) -> Sequence[str]:
        """Return the names, sorted; the file is read only when it has changed.

        Raises:
            OSError: the file cannot be read, or is not writable: then names may be missing in it.
        """
        with self._opened(os.O_RDWR) as descriptor:
            if _signature(os.fstat(descriptor)) != self._seen:
                self._lock(descriptor, fcntl.LOCK_SH)
                self._refresh(descriptor)
        return self._names

    def add(self, name: str) -> bool:
        """Append a name, durable when this returns, unless the file has it; return whether the file lacked the name."""
        with self._locked(os.O_RDWR | os.O_APPEND) as descriptor:
            self._refresh(descriptor)
            position = bisect_left(self._names, name)
            if self._names[position : position + 1] == [name]:
                return False
            if not self._is_clean:
                # The leftovers of a crash must not be joined with the new line.
                self._rewrite(self._names)
            self._append(descriptor, f"{name}\n".encode())
            self._names.insert(position, name)
            self._seen = _signature(os.fstat(descriptor))
            return True

    def replace(self, renew: Callable[[Sequence[str]], Iterable[str]]) -> None:
        """Replace the names by the result of `renew` for the present ones, under the lock; writes all names twice.

        Removes lines that are no names, and repetitions, even if the names stay the same.
        """
        with self._locked(os.O_RDWR) as descriptor:
            self._refresh(descriptor)
            fresh = sorted(set(renew(self._names)))
            if fresh != self._names or not (self._is_clean and self._is_tidy):
                self._rewrite(fresh)

    @contextmanager
    def _locked(self, flags: int) -> Iterator[int]:
        with self._opened(flags) as descriptor:
            self._lock(descriptor, fcntl.LOCK_EX)
            yield descriptor

    @contextmanager
    def _unfinished(self) -> Iterator[int | None]:
        """Hold the file that the block may rename to the missing one; None if that exists."""
        path = _unfinished_path(self._path.resolve())
        while not self._path.exists():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._lock(descriptor, fcntl.LOCK_EX)
                # The holder of the lock renames or removes it; another process may just have done that.
                if _is_at(path, descriptor):
                    try:
                        yield None if self._path.exists() else descriptor
                    finally:
                        if _is_at(path, descriptor):
                            path.unlink()
                    return
            finally:
                os.close(descriptor)
        yield None

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        descriptor = os.open(self._path, flags | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            # Closing releases the lock.
            os.close(descriptor)

    def _lock(self, descriptor: int, operation: int) -> None:
        deadline = time.monotonic() + self._lock_seconds_max
        while True:
            try:
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    message = f"the catalog file {self._path} is locked by another process"
                    raise CatalogUnavailableError(message) from None
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return

    def _refresh(self, descriptor: int) -> None:
        signature = _signature(os.fstat(descriptor))
        if signature == self._seen:
            return
        data = _read_all(descriptor)
        counted = _counted(data)
        lines = counted.split(b"\n")
        self._names = sorted({line.decode() for line in lines[:-1] if _is_name(line)})
        self._whole_bytes = data.rfind(b"\n") + 1
        self._is_clean = counted == data and not lines[-1]
        self._is_tidy = len(lines) - 1 == len(self._names)
        self._seen = signature

    def _append(self, descriptor: int, line: bytes) -> None:
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, line)
            os.fsync(descriptor)
        except OSError:
            # A full disk may have stored part of the line.
            os.ftruncate(descriptor, size)
            raise

    def _rewrite(self, names: Sequence[str]) -> None:
        content = "".join(f"{name}\n" for name in names).encode()
        # A second descriptor, because one opened with O_APPEND cannot overwrite; the caller's holds the lock.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor).st_mtime_ns
            self._write_replacement(descriptor, content)
            os.lseek(descriptor, 0, os.SEEK_SET)
            write_all(descriptor, content)
            os.fsync(descriptor)
            truncate_visibly(descriptor, len(content), before)
            os.fsync(descriptor)
            self._names = list(names)
            self._whole_bytes = len(content)
            self._is_clean = True
            self._is_tidy = True
            self._seen = _signature(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _write_replacement(self, descriptor: int, content: bytes) -> None:
        # An incomplete last line would become a name when a newline follows it.
        os.ftruncate(descriptor, self._whole_bytes)
        # Blank lines move the copy out of the area that is overwritten next.
        gap = b"\n" * max(1, len(content) - self._whole_bytes)
        digest = hashlib.sha256(content).hexdigest()
        try:
            os.lseek(descriptor, 0, os.SEEK_END)
            write_all(descriptor, gap + f"#replacement {len(content)} {digest}\n".encode() + content)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, self._whole_bytes)
            raise


def _counted(data: bytes) -> bytes:
    """Return the valid part of a file: all after its last complete replacement, else all before the first one."""
    for marker in reversed(list(_REPLACEMENT.finditer(data))):
        content = data[marker.end() : marker.end() + int(marker[1])]
        if hashlib.sha256(content).hexdigest().encode() == marker[2]:
            # Lines after it were appended by a process that uses no locks.
            return data[marker.end() :]
        data = data[: marker.start()]
    return data


def _is_name(line: bytes) -> bool:
    try:
        RepositoryName(line.decode("ascii"))
    except (NameInvalidError, UnicodeDecodeError):
        return False
    return True


def _signature(stat: os.stat_result) -> tuple[int, ...]:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _unfinished_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the path leads to the open file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def truncate_visibly(descriptor: int, size: int, before: int) -> None:
    """Truncate the file so that its modification time differs from `before`.

    File systems record times in ticks of some milliseconds. Two sets of the same length within one tick would look the
    same to other processes, whose names would then stay stale.
    """
    for _ in range(_TICKS_MAX):
        os.ftruncate(descriptor, size)
        if os.fstat(descriptor).st_mtime_ns != before:
            return
        time.sleep(_TICK_SECONDS)


def _read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()


def write_all(descriptor: int, data: bytes) -> None:
    """Write `data` to its end; raise `OSError` if that fails."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
