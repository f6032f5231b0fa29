"""The port for staging: bytes of an upload that several requests bring and one commit makes readable."""

import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from core.ports.blob_storage import BlobStorage, SmallObjects


class BlobWriter(ABC):
    """A staged object: bytes are appended in several `with` blocks, also after restarts, then committed to a key.

    The blocks may be on different replicas. Used by one task at a time. Memory use is bounded, whatever the size.
    """

    append_now: Callable[[memoryview], None] | None = None
    """Blocking variant of `write` for threads, if the store needs no event loop for it.

    No other method may run during a call. `make_room` limits how much is appended.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes accepted up to now, including those of earlier blocks."""

    @property
    def stamp(self) -> str | None:
        """An identifier of the staged bytes, different for any other bytes ever staged at this key.

        Inside the block it identifies the bytes that earlier blocks left; after the block, those that the block left.
        None if `size` alone identifies the bytes, because no others of that size were ever staged. If a power cut may
        have replaced bytes by others of the same size, the identifier changes.
        """
        return None

    @abstractmethod
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`, which the caller must not change before this returns.

        Small chunks may be buffered until the block ends; leaving the block fails if they cannot be stored.

        Raises:
            StorageUnavailableError: the store failed or is full. The bytes of earlier calls are kept.
        """

    async def make_room(self, wanted: int = sys.maxsize) -> int:
        """Return how many bytes `append_now` may append before the next call of this method, at least 1.

        Waits until the store has taken enough of the earlier bytes, and until other uploads leave enough memory.

        Args:
            wanted: number of bytes that are still to be appended in this block, at least 1; `sys.maxsize` if it is not
                known.

        Raises:
            StorageUnavailableError: the store failed or is full. The bytes of earlier calls are kept.
        """
        return sys.maxsize

    @abstractmethod
    def content(self) -> AsyncIterator[bytes]:
        """Yield all bytes accepted up to now, from the first. Afterwards only `commit` and `discard` are allowed."""

    @abstractmethod
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        """Make the bytes readable at `target`, atomically and durably, replacing an existing object.

        Then write the objects in `then`, like `write_all`.

        A writer that later resumes at the staged key starts at 0. If this raises, `target` holds either its previous
        content or all of the new bytes, and a later block may commit the staged bytes again. Costs at most a rename or
        a server-side copy, never a transfer of all bytes through this process.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Delete the staged bytes. Idempotent. Allowed after `commit`, which it does not undo."""


class StagingStorage(BlobStorage):
    """Blob storage that also stages uploads, so that a commit moves the bytes within the store."""

    @abstractmethod
    def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AbstractAsyncContextManager[BlobWriter]:
        """Open a staged object at `key`: empty, or with `resume` continuing after the bytes of earlier blocks.

        With `is_first` the caller expects that no bytes are staged at `key`. The store may then check the key only when
        it has to store bytes, so that an object that fits in memory costs only its commit. If the store could not
        distinguish the new bytes from earlier ones by their `stamp`, it raises `ObjectBusyError` if bytes are staged
        after all, and `ObjectNotFoundError` if the object `witness` is gone. Bytes may be staged at `key` only while
        `witness` exists.

        Leaving the block without `commit` or `discard`, in any way, keeps the bytes written up to then. They survive a
        restart and are available to other replicas on the same store. Staged bytes may or may not be readable at `key`,
        so stage only where no other code reads. `resume` starts at 0 if nothing is staged.

        Raises:
            ObjectBusyError: another writer of this process or machine has the key open.
        """

    @abstractmethod
    async def staged_size(self, key: str) -> int:
        """Return the number of bytes staged at `key`, 0 if none; allowed while a writer has the key open.

        The result is the size with which the next writer that resumes would start. One or two requests.
        """

    async def drop_unfinished(
        self, prefix: str, *, before: datetime, is_spared: Callable[[str], bool], dry_run: bool = False
    ) -> Sequence[str]:
        """Discard writes below `prefix` that began before `before`, were never finished, and appear in no listing.

        A killed process may leave such writes in an object store, which keeps their parts and charges for them.
        Idempotent. One request per 1,000 of them, and one per discarded write. A store that has no such writes, or
        cannot list them, does not override this.

        Args:
            prefix: the prefix to search.
            before: younger writes are kept.
            is_spared: whether the write at a key is still in progress.
            dry_run: only report; discard nothing.

        Returns:
            The key of each discarded write.
        """
        return ()
