"""Audit log in a file that several processes append to and that logrotate may replace."""

import asyncio
import fcntl
import os
import select
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from typing_extensions import override

from adapters.audit_log.lines import format_event
from adapters.audit_log.reading import read_recent
from core.errors import AuditUnavailableError
from core.ports.audit_log import AuditEvent, AuditLog
from core.ports.audit_trail import AuditTrail, TrailPage, TrailQuery

_MODE: Final = 0o640
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""`O_NONBLOCK` has an effect on pipes only: `/dev/stdout`, or a named pipe."""
TIMEOUT_SECONDS: Final = 2.0
"""How long to wait for the reader of a full pipe."""


class _Batch:
    """Lines that one write appends together."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.writing: asyncio.Future[None] | None = None
        """The write in progress; None before it begins."""


class FileAuditLog(AuditLog, AuditTrail):
    """Appends lines under a file lock, so that lines never interleave, and reopens the path after a rotation.

    Lines that arrive during a write are batched: one write and one fsync for all of them.

    Args:
        path: path of a file or a pipe. A missing file is created, a missing folder is not.
        sync: whether a line counts as written only after it is on disk.
        timeout_seconds: how long to wait for the reader of a full pipe.
    """

    def __init__(self, path: Path, *, sync: bool = False, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.name = str(path)
        self._path = path
        self._sync = sync
        self._timeout_seconds = timeout_seconds
        self._is_stuck = False
        self._is_torn = False
        self._descriptor = -1
        self._next = _Batch()
        self._turn = asyncio.Lock()
        self._reading = asyncio.Lock()
        # A dedicated thread: a disk that hangs must not occupy the threads that storage needs.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")

    @override
    async def stop(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self._close()

    @override
    async def record(self, event: AuditEvent) -> None:
        batch = self._next
        batch.lines.append(format_event(event))
        async with self._turn:
            if batch.writing is None:
                self._next = _Batch()
                batch.writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch.lines)
            # Unlike awaiting the future, `wait` does not cancel the shared write when one caller is cancelled.
            await asyncio.wait([batch.writing])
        failure = batch.writing.exception()
        if failure is not None:
            raise AuditUnavailableError(_explain(self._path, failure)) from failure

    @override
    async def recent(self, query: TrailQuery, *, n: int, before: str = "") -> TrailPage:
        try:
            # One at a time: a disk that hangs must not occupy the threads that storage needs.
            async with self._reading:
                return await asyncio.to_thread(read_recent, self._path, query, n, before)
        except OSError as error:
            reason = error.strerror or error
            raise AuditUnavailableError(f"the audit log {self._path} cannot be read: {reason}") from error

    @override
    def check(self) -> None:
        try:
            with self._opened():
                return
        except OSError as error:
            raise AuditUnavailableError(_explain(self._path, error)) from error
        finally:
            # Close the file: a lock belongs to an open file, so processes that are forked later must open their own.
            self._close()

    def _write(self, lines: Sequence[bytes]) -> None:
        with self._opened() as descriptor:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                _append(descriptor, b"".join(lines))
                if self._sync:
                    os.fdatasync(descriptor)
            else:
                self._pass_on(descriptor, b"".join(lines))

    def _pass_on(self, descriptor: int, content: bytes) -> None:
        """Write to a pipe; once a write has timed out, later lines do not wait until one succeeds.

        Raises:
            OSError: the pipe stays full. A part of the content may already be in the pipe.
        """
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        ends = time.monotonic() + (0 if self._is_stuck else self._timeout_seconds)
        # End a line that was only partly written, so that the next line starts on its own.
        content = b"\n" + content if self._is_torn else content
        while content:
            try:
                written = os.write(descriptor, content)
                self._is_torn = content[written - 1 : written] != b"\n"
                content = content[written:]
            except BlockingIOError:
                left_seconds = ends - time.monotonic()
                if left_seconds <= 0 or not poll.poll(left_seconds * 1000):
                    self._is_stuck = True
                    raise
        self._is_stuck = False

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Yield a descriptor of the file that is now at the path, locked."""
        while True:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, _FLAGS, _MODE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if self._is_current():
                break
            self._close()
        try:
            yield self._descriptor
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _append(descriptor: int, content: bytes) -> None:
    """Write all of `content` or nothing: a partial write, for example on a full disk, is truncated.

    Raises:
        OSError: nothing was written.
    """
    size = os.fstat(descriptor).st_size
    # A process may have been killed in the middle of a line; the next line must start on its own.
    if size and os.pread(descriptor, 1, size - 1) not in {b"\n", b""}:
        content = b"\n" + content
    written = 0
    try:
        while written < len(content):
            written += os.write(descriptor, content[written:])
    except OSError:
        if written:
            os.ftruncate(descriptor, size)
        raise


def _explain(path: Path, error: BaseException) -> str:
    return f"the audit log {path} cannot be written: {getattr(error, 'strerror', None) or error}"
