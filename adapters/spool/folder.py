"""Spool in a folder: one file per blob, shared by all worker processes of a machine.

A file begins with a header of fixed size: progress, failure, and a table of the repositories that were served. The
bytes of the blob follow. The leading process holds an exclusive `flock`, which the kernel releases with the process, so
another one can take over. The folder must be on a local disk.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from typing_extensions import override

from core.concurrency import await_thread
from core.content_source import Offload
from core.errors import StorageError, StorageFullError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.spool import (
    FAILURE_MESSAGE_LENGTH_MAX,
    Spool,
    SpooledBlob,
    SpoolFailure,
    SpoolFailureKind,
    SpoolPhase,
    SpoolState,
)

T = TypeVar("T")

HANDLES_MAX: Final = 512
"""Number of blobs that one process has open in the spool. Each takes one file descriptor."""
_POLL_SECONDS_MIN: Final = 0.002
_POLL_SECONDS_MAX: Final = 0.02

_PROGRESS: Final = struct.Struct("<8sqB")
"""Mark of the format, size of the blob (-1: unknown), phase."""
_MARK: Final = b"spooled1"
_PHASE_AT: Final = 16
_FAILURE: Final = struct.Struct("<BIHH")
"""Kind, seconds to wait, lengths of the name and of the message, which follow."""
_FAILURE_AT: Final = 512
_FAILURE_BYTES: Final = 3 * 1024
_TABLE_AT: Final = 4096
_ENTRY_BYTES: Final = 32
_ENTRIES: Final = 1024
_CONTENT_AT: Final = _TABLE_AT + _ENTRIES * _ENTRY_BYTES

_FILE_NAME: Final = re.compile(r"(sha256|sha512)-[0-9a-f]+")
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def _translate(error: OSError) -> StorageError:
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _FULL:
        return StorageFullError(f"{reason} in the spool of the pull-through cache")
    return StorageUnavailableError(f"{reason} in the spool of the pull-through cache")


class FolderSpool(Spool):
    """Spool in the folder at `path`, which is created if missing.

    Args:
        path: the folder.
        offload: runs calls that may wait for the disk in threads.
        handles_max: number of handles that may be open at once.
    """

    def __init__(self, path: str, *, offload: Offload, handles_max: int = HANDLES_MAX) -> None:
        self._path = path
        self._offload = offload
        self._handles_max = handles_max
        self._handles = 0

    @override
    async def start(self) -> None:
        await _run(self._offload, lambda: os.makedirs(self._path, mode=0o700, exist_ok=True))

    @override
    async def stop(self) -> None:
        """Close nothing: each handle has its own file."""

    @property
    @override
    def open_handles(self) -> int:
        return self._handles

    @override
    async def open(self, digest: Digest) -> SpooledBlob:
        if self._handles >= self._handles_max:
            raise StorageUnavailableError(f"{self._handles} blobs are being fetched, more are not allowed at once")
        path = os.path.join(self._path, f"{digest.algorithm}-{digest.encoded}")
        self._handles += 1
        opened: list[int] = []
        try:
            await _run(self._offload, lambda: opened.append(_open(path)))
        except BaseException:
            # A cancelled call may have opened the file nevertheless.
            for descriptor in opened:
                os.close(descriptor)
            self._handles -= 1
            raise
        return _File(path, opened[0], self._offload, on_close=self._count_closed)

    @override
    async def sweep(self, *, unchanged_seconds: float) -> int:
        return await _run(self._offload, lambda: self._sweep(unchanged_seconds))

    def _count_closed(self) -> None:
        self._handles -= 1

    def _sweep(self, unchanged_seconds: float) -> int:
        changed_before = time.time() - unchanged_seconds
        count = 0
        for name in os.listdir(self._path):
            if _FILE_NAME.fullmatch(name):
                count += _remove_if_unused(os.path.join(self._path, name), changed_before)
        return count


class _File(SpooledBlob):
    def __init__(self, path: str, descriptor: int, offload: Offload, *, on_close: Callable[[], None]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._offload = offload
        self._on_close = on_close
        self._is_leading = False
        self._pause = _POLL_SECONDS_MIN
        self._probe = bytearray(1)
        self._is_cached = hasattr(os, "RWF_NOWAIT")

    @property
    @override
    def state(self) -> SpoolState:
        try:
            # In this order: all bytes of a verified blob are here.
            mark, size, phase = _read_progress(self._descriptor)
            filled = max(0, os.fstat(self._descriptor).st_size - _CONTENT_AT)
            if mark != _MARK:
                return SpoolState()
            failure = _read_failure(self._descriptor) if phase == SpoolPhase.FAILED.value else None
        except OSError as error:
            raise _translate(error) from error
        return SpoolState(filled=filled, size=None if size < 0 else size, phase=SpoolPhase(phase), failure=failure)

    @override
    async def lead(self) -> bool:
        if not self._is_leading:
            self._is_leading = await self._run(self._lock)
        return self._is_leading

    @override
    async def release(self) -> None:
        if self._is_leading:
            self._is_leading = False
            await self._run(lambda: fcntl.flock(self._descriptor, fcntl.LOCK_UN))

    @override
    async def begin(self, size: int) -> None:
        self._require_lead()
        header = _PROGRESS.pack(_MARK, size, SpoolPhase.FILLING.value)
        await self._run(lambda: _write(self._descriptor, header, 0))

    @override
    async def append(self, piece: bytes) -> None:
        self._require_lead()
        await self._run(lambda: self._append(piece))

    @override
    async def is_removed(self) -> bool:
        return not await self._run(self._is_at_path)

    @override
    async def finish(self, phase: SpoolPhase) -> None:
        self._require_lead()
        await self._run(lambda: _write(self._descriptor, bytes([phase.value]), _PHASE_AT))

    @override
    async def fail(self, failure: SpoolFailure) -> None:
        self._require_lead()
        name, message = failure.name.encode(), failure.message[:FAILURE_MESSAGE_LENGTH_MAX].encode()
        kind = failure.kind.value
        record = _FAILURE.pack(kind, min(failure.retry_after, 0xFFFF_FFFF), len(name), len(message)) + name + message

        def write() -> None:
            _write(self._descriptor, record, _FAILURE_AT)
            _write(self._descriptor, bytes([SpoolPhase.FAILED.value]), _PHASE_AT)

        await self._run(write)

    @override
    async def read(self, offset: int, length: int) -> bytes:
        if self._is_cached:
            try:
                return self._read_cached(offset, length)
            except BlockingIOError:
                # The kernel has dropped the bytes from its memory.
                pass
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise _translate(error) from error
                self._is_cached = False
        return await self._run(lambda: os.pread(self._descriptor, length, _CONTENT_AT + offset))

    @override
    async def wait(self, seen: SpoolState) -> None:
        if self.state != seen:
            self._pause = _POLL_SECONDS_MIN
            return
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _POLL_SECONDS_MAX)

    @override
    async def mark(self, name: RepositoryName) -> None:
        entry, at = _entry_of(name)
        await self._run(lambda: _write(self._descriptor, entry, at))

    @override
    async def is_marked(self, name: RepositoryName) -> bool:
        entry, at = _entry_of(name)
        return await self._run(lambda: os.pread(self._descriptor, _ENTRY_BYTES, at)) == entry

    @override
    async def remove(self) -> None:
        await self._run(self._unlink)

    @override
    def close(self) -> None:
        if self._descriptor >= 0:
            # This releases the lock.
            os.close(self._descriptor)
            self._descriptor = -1
            self._is_leading = False
            self._on_close()

    async def _run(self, function: Callable[[], T]) -> T:
        return await _run(self._offload, function)

    def _require_lead(self) -> None:
        if not self._is_leading:
            raise RuntimeError("another handle fills the blob")

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        mark, _, phase = _read_progress(self._descriptor)
        if mark != _MARK:
            # A new file, or one in another format.
            os.ftruncate(self._descriptor, 0)
            _write(self._descriptor, _PROGRESS.pack(_MARK, -1, SpoolPhase.FILLING.value), 0)
        elif phase == SpoolPhase.FAILED.value:
            _write(self._descriptor, bytes([SpoolPhase.FILLING.value]), _PHASE_AT)
        return True

    def _append(self, piece: bytes) -> None:
        start = max(_CONTENT_AT, os.fstat(self._descriptor).st_size)
        try:
            _write(self._descriptor, piece, start)
        except OSError:
            # The whole piece is here, or nothing of it, so that the caller's hash fits.
            os.ftruncate(self._descriptor, start)
            raise

    def _read_cached(self, offset: int, length: int) -> bytes:
        """Read without waiting for the disk.

        The kernel has the bytes in memory if it has the first and the last page; a plain read then copies only once.
        """
        for probed in (offset, offset + length - 1):
            os.preadv(self._descriptor, [self._probe], _CONTENT_AT + probed, os.RWF_NOWAIT)
        return os.pread(self._descriptor, length, _CONTENT_AT + offset)

    def _is_at_path(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _unlink(self) -> None:
        if self._is_at_path():
            with suppress(FileNotFoundError):
                os.unlink(self._path)


async def _run(offload: Offload, function: Callable[[], T]) -> T:
    """Call a function in a thread; a cancelled caller returns only after the call has ended."""
    results: list[T] = []
    try:
        await await_thread(offload(lambda: results.append(function())))
    except OSError as error:
        raise _translate(error) from error
    return results[0]


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _write(descriptor: int, content: bytes, at: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def _read_progress(descriptor: int) -> tuple[bytes, int, int]:
    header = os.pread(descriptor, _PROGRESS.size, 0)
    if len(header) < _PROGRESS.size:
        return b"", -1, SpoolPhase.FILLING.value
    mark, size, phase = _PROGRESS.unpack(header)
    return mark, size, phase


def _read_failure(descriptor: int) -> SpoolFailure:
    record = os.pread(descriptor, _FAILURE_BYTES, _FAILURE_AT)
    kind, retry_after, name_bytes, message_bytes = _FAILURE.unpack_from(record)
    texts = record[_FAILURE.size :]
    return SpoolFailure(
        kind=SpoolFailureKind(kind),
        message=texts[name_bytes : name_bytes + message_bytes].decode(errors="replace"),
        name=texts[:name_bytes].decode(errors="replace"),
        retry_after=retry_after,
    )


def _entry_of(name: RepositoryName) -> tuple[bytes, int]:
    """Return the entry of a repository in the table, and its place; another entry at this place is overwritten."""
    entry = hashlib.sha256(name.encode()).digest()
    return entry, _TABLE_AT + int.from_bytes(entry[:4], "little") % _ENTRIES * _ENTRY_BYTES


def _remove_if_unused(path: str, changed_before: float) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have removed the file, and a third one created it again.
        is_unused = os.fstat(descriptor).st_mtime <= changed_before and os.path.samestat(
            os.fstat(descriptor), os.stat(path)
        )
        if is_unused:
            os.unlink(path)
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(descriptor)
    return is_unused
