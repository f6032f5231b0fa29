"""Writer of a staged file: distribution's `_uploads/<uuid>/data`, appended to in place."""

import fcntl
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final, ParamSpec, TypeVar

from typing_extensions import override

from adapters.blob_storage.filesystem.committed_size import keep_size
from adapters.blob_storage.filesystem.errors import translate
from adapters.blob_storage.filesystem.page_cache import PageCache
from adapters.blob_storage.filesystem.reader import pieces
from adapters.blob_storage.filesystem.threads import BlockingCalls
from adapters.blob_storage.filesystem.tree import Tree
from core.errors import ObjectBusyError, ObjectNotFoundError
from core.ports.blob_storage import SmallObjects
from core.ports.staging import BlobWriter

P = ParamSpec("P")
T = TypeVar("T")

_BOOT_ID_FILE: Final = "/proc/sys/kernel/random/boot_id"

_NOT_OPEN: Final = -1

_HELD_BYTES_MAX: Final = 256 * 1024
"""Maximum number of bytes buffered before a hop to a thread: most manifests and many layers need only `commit`."""

_WRITEBACK_BYTES: Final = 8 * 1024 * 1024
"""After this many new bytes, ask the kernel to start writing them to the disk.

By itself the kernel waits for seconds or gigabytes, and `commit` then waits for the whole blob: 240 ms per GiB on the
disk where this was measured, 5 ms with the hint.
"""


class FileWriter(BlobWriter):
    """Appends to the file at `path`, under a lock that other processes respect and that ends with this process.

    Small pieces are buffered in memory and written when the block is left. With `is_first`, the file is created only
    then, or at the commit: most blobs of small images need a single hop to a thread.

    Without a restart of the machine, the file at one path never has the same length with different bytes later: it only
    grows, under the lock, and once it is removed it is created again only while the witness exists.

    Leaving the block syncs nothing. If the process is killed, the kernel still has all written bytes. After a power
    cut, a session reports the size that is really there, and the client continues from there; but the disk may contain
    zeros instead of the written bytes. Therefore the stamp is the boot id of the machine. Only `commit` guarantees
    durability.
    """

    def __init__(
        self,
        key: str,
        path: str,
        *,
        tree: Tree,
        calls: BlockingCalls,
        page_cache: PageCache,
        path_of: Callable[[str], str],
        boot_id: str,
    ) -> None:
        self._key = key
        self._path = path
        self._tree = tree
        self._calls = calls
        self._page_cache = page_cache
        self._path_of = path_of
        self._boot_id = boot_id
        self._descriptor = _NOT_OPEN
        self._held = bytearray()
        self._size = 0
        self._handed_on = 0
        self._is_open_for_more = True
        self._is_first = False
        self._witness: str | None = None

    async def open(self, *, resume: bool, is_first: bool, witness: str | None) -> None:
        """Lock the file, created if missing, and truncate it unless `resume`; with `is_first` this happens later."""
        self._is_first = is_first
        self._witness = witness
        if is_first:
            return
        try:
            await self._run(self._open, resume=resume)
        except BaseException:
            # This includes a cancellation: the thread has ended, and may have opened the file.
            self.close()
            raise

    async def leave(self) -> None:
        """Write the buffered bytes to the file, unless they were committed or discarded."""
        if self._held:
            await self._run(self._write_held)

    def close(self) -> None:
        """Close the file, which releases its lock. Idempotent."""
        if self._descriptor != _NOT_OPEN:
            os.close(self._descriptor)
            self._descriptor = _NOT_OPEN

    @property
    @override
    def size(self) -> int:
        return self._size + len(self._held)

    @property
    @override
    def stamp(self) -> str | None:
        return self._boot_id

    @override
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        if not self._is_open_for_more:
            raise RuntimeError("the writer is closed")
        if len(self._held) + len(chunk) <= _HELD_BYTES_MAX:
            self._held += chunk
        else:
            await self._run(self._append, memoryview(chunk))

    @override
    def append_now(self, chunk: memoryview) -> None:
        try:
            self._append(chunk)
        except OSError as error:
            raise translate(error, self._key) from error

    @override
    async def content(self) -> AsyncIterator[bytes]:
        self._is_open_for_more = False
        await self.leave()
        size = self._size
        async for piece in pieces(self._descriptor, self._key, 0, size, calls=self._calls, page_cache=self._page_cache):
            yield piece

    @override
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        await self._run(self._commit, self._path_of(target), [(self._path_of(key), content) for key, content in then])
        self._is_open_for_more = False

    @override
    async def discard(self) -> None:
        self._is_open_for_more = False
        self._held.clear()
        if self._descriptor != _NOT_OPEN:
            await self._run(self._discard)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._calls.run(function, *args, **kwargs)
        except OSError as error:
            raise translate(error, self._key) from error

    def _open(self, *, resume: bool) -> None:
        self._lock()
        # Between opening and locking, the previous writer may have committed: then the open file is a finished blob.
        while (state := self._state_at_path()) is None:
            self.close()
            self._lock()
        if not resume:
            os.ftruncate(self._descriptor, 0)
        self._size = self._handed_on = state.st_size if resume else 0

    def _lock(self) -> None:
        self._descriptor = self._open_file()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ObjectBusyError(self._key) from error

    def _open_file(self) -> int:
        while True:
            try:
                return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                # The folder never existed, or another process has just removed it because it was empty.
                os.makedirs(os.path.dirname(self._path), exist_ok=True)

    def _open_first(self) -> None:
        """Create the file, if `open` did not.

        Raises:
            ObjectBusyError: another writer has staged bytes there, which must not be truncated.
            ObjectNotFoundError: the witness is gone: no later request may resume this upload.
        """
        if not self._is_first or self._descriptor != _NOT_OPEN:
            return
        self._open(resume=True)
        if self._size:
            self.close()
            raise ObjectBusyError(self._key)
        if self._witness is not None and not os.path.exists(self._path_of(self._witness)):
            os.unlink(self._path)
            with suppress(OSError):
                # The folder is empty, unless another late writer has just created a file in it.
                os.rmdir(os.path.dirname(self._path))
            self.close()
            raise ObjectNotFoundError(self._witness)

    def _append(self, view: memoryview) -> None:
        self._write_held()
        self._write(view)

    def _write_held(self) -> None:
        if self._held:
            with memoryview(self._held) as view:
                self._write(view)
            self._held.clear()

    def _write(self, view: memoryview) -> None:
        self._open_first()
        written = 0
        try:
            while written < len(view):
                written += os.pwrite(self._descriptor, view[written:], self._size + written)
        except OSError:
            # A chunk is written completely or not at all, so that `size` and the caller's hash agree.
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += written
        if self._size - self._handed_on >= _WRITEBACK_BYTES:
            # The kernel writes the dirty pages and, despite the name of the flag, keeps them: pulls find them in
            # memory.
            new = self._size - self._handed_on
            os.posix_fadvise(self._descriptor, self._handed_on, new, os.POSIX_FADV_DONTNEED)
            self._handed_on = self._size

    def _commit(self, target: str, then: SmallObjects) -> None:
        was_open = self._descriptor != _NOT_OPEN
        self._open_first()
        if was_open and self._state_at_path() is None:
            # Deleted in the meantime, for example because the client cancelled the upload.
            raise ObjectNotFoundError(self._key)
        self._write_held()
        # The age of an object counts from its commit, not from its last byte: garbage collection spares young objects.
        os.utime(self._descriptor)
        keep_size(self._descriptor, self._size)
        self._tree.commit(self._descriptor, self._path, target, then)

    def _discard(self) -> None:
        if self._state_at_path() is not None:
            os.unlink(self._path)

    def _state_at_path(self) -> os.stat_result | None:
        """Return the state of the open file; None if the path leads to another file or to none."""
        try:
            state = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return state if os.path.samestat(os.fstat(self._descriptor), state) else None


def read_boot_id(path: str = _BOOT_ID_FILE) -> str:
    """Return a text that differs after each start of this machine, and between machines.

    Without the kernel's file the text is new on each call. Then no process trusts the bytes that another one staged.
    """
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip() or str(uuid.uuid4())
    except OSError:
        return str(uuid.uuid4())
