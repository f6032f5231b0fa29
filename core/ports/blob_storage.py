"""The port for keyed byte storage: folders, object stores, memory.

A *key* is an absolute slash path from `core.store.layout` (`/docker/registry/v2/…`). Its components consist of letters,
digits, `.`, `_` and `-`, are joined by single slashes, and are never `.` or `..`. Other programs may put other names
into a store (`@eaDir`, `lost+found`): no listing yields these names or anything below them. A *prefix* is a key that
stands for its descendants, not for all keys that begin with the same characters: `/a/b` is below `/a`, `/ab` is not.
`/` is the prefix of every key.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Final, Self

from core.content_source import Offload

SmallObjects = Sequence[tuple[str, bytes]]
"""Keys with their contents, to be written in this order."""

SMALL_OBJECT_BYTES_MAX: Final = 4 * 1024 * 1024
"""The default limit of `read`: links have 71 bytes, pushed manifests at most this many."""


KEYS_PER_REQUEST: Final = 1_000
"""Number of keys that an object store lists or deletes in one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStat:
    """Metadata of an object, available without reading it."""

    size: int
    modified_at: datetime
    """Time of the last write, UTC-aware, by the store's clock."""
    md5: str | None = None
    """Hex MD5 of the content if the store reports it without extra cost, else None; saves reading many small links."""


class BlobReader(ABC):
    """An open object, read once from `offset` by one task; valid within its `open_reader` block."""

    size: int
    """Size of the whole object in bytes."""
    length: int
    """Number of bytes that this reader yields."""
    committed_size: int | None = None
    """Size in bytes when the object was committed, if the store records it separately from the content."""
    version: str | None = None
    """A text that changes with each write to the key, if the store reports one without extra cost."""
    file: BinaryIO | None = None
    """The open file, positioned at `offset`, if the content is a plain file that the kernel can copy."""
    offset: int = 0
    offload: Offload | None = None
    """Runs reads of `file` in the store's threads, since they may wait for the disk; present if `file` is."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in chunks of bounded size, `length` bytes in total.

        Raises:
            StorageUnavailableError: the store failed, or the content ended early; the result is never silently short.
        """


class BlobWriter(ABC):
    """A staged object: bytes are appended in several `with` blocks, also after restarts, then committed to a key.

    The blocks may be on different replicas. Used by one task at a time. Memory use is bounded, whatever the size.
    """

    append_now: Callable[[memoryview], None] | None = None
    """Blocking variant of `write` for threads, if the store is a local file. No other method may run during a call."""

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


class BlobStorage(ABC):
    """Keyed byte storage. One per process, opened as a context manager; safe for concurrent tasks.

    Every method may raise `StorageUnavailableError`. A read sees every write that completed before the read began.
    """

    name: str
    """The driver's name in configuration, metrics and logs."""
    creates_exclusively: bool = True
    """Whether `create` is exclusive across processes; false for a store without conditional writes."""
    passes_over: bool = True
    """Whether `list_marked` honours `passing_over`; false for a store where that would cost a request for each path."""

    async def __aenter__(self) -> Self:
        """Open the resources of the adapter (pools, sessions)."""
        return self

    async def __aexit__(  # noqa: B027 - optional: memory has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the resources."""

    @abstractmethod
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        """Return the whole content of a small object. One request.

        Raises:
            ObjectNotFoundError: there is no object at `key`.
            ObjectTooLargeError: the object has more than `limit` bytes; none of them was kept in memory.
        """

    @abstractmethod
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        """Store a small object. One request.

        Atomic, even if the process is killed: a reader sees either the whole old or the whole new content, and a key is
        listed only once its content is readable. The last writer wins. The write survives a power cut when this
        returns; with `durable=False` only some time later, if that is cheaper.
        """

    async def write_all(self, objects: SmallObjects) -> None:
        """Store small objects one after the other, each like `write`, and each durable before the next one appears.

        If this raises or the process is killed, the first objects are stored and the rest are not. One request per
        object; a store that works in threads switches threads once for all of them.
        """
        for key, content in objects:
            await self.write(key, content)

    @abstractmethod
    async def create(self, key: str, content: bytes) -> bool:
        """Store a small object only if the key does not exist; return whether it was stored. At most two requests.

        As atomic and durable as `write`. Of any number of concurrent calls for a key, in any number of processes,
        exactly one returns True, and its content stays. Without `creates_exclusively` this holds only within one
        process. If the store's response was lost, the result may be False although the content was stored: read the key
        to find out.
        """

    @abstractmethod
    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[BlobReader]:
        """Open an object for streaming. One request.

        A missing key, or an `offset` beyond the end, raises on entering the block, before the first byte. An `offset`
        equal to the size yields nothing. `length` is limited to the end of the object; None means the rest of the
        object.

        Raises:
            ObjectNotFoundError: there is no object at `key`.
            RangeInvalidError: `offset` is greater than the size.
        """

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

    @abstractmethod
    async def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object. One request.

        Raises:
            ObjectNotFoundError: there is no object at `key`, even if there are keys below it.
        """

    @abstractmethod
    def list_children(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Yield the names directly below `prefix`, of objects and prefixes alike, ascending by code point.

        Only names greater than `after`. Empty for a missing prefix. One request per 1,000 names on object stores.
        """

    @abstractmethod
    def list_marked(self, prefix: str, *, after: str = "", passing_over: str = "") -> AsyncIterator[str]:
        """Yield each path below `prefix` that directly contains a child whose name begins with `_`.

        Repositories are found this way: the key `<prefix>/a/b/_layers/…` yields `a/b`. Paths are relative to `prefix`,
        unique, greater than `after`, and ascending by code point as whole strings (`a`, `a-b`, `a.b`, `a/b`). The
        content of a `_…` child is not searched. Costs about one request per 1,000 paths on object stores. On folders it
        costs the directories between `after` and the point where the caller stops.

        Args:
            prefix: the parent of all paths.
            after: any text; the empty text means from the start.
            passing_over: a name that begins with `_`. With `passes_over`, a path whose only `_…` child has this name is
                left out.
        """

    @abstractmethod
    def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        """Yield every object below `prefix`, in no particular order, streamed in bounded memory.

        Objects that are added or removed during the walk may or may not be seen. One request per 1,000 objects on
        object stores.
        """

    @abstractmethod
    def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        """Yield every object below `<prefix>/<path>/<directory>`, for each path that `list_marked` yields.

        `directory` begins with `_`. Objects within one child of such a directory are consecutive; otherwise the order
        is unspecified, as for `walk`. On object stores this costs one request per 1,000 objects below `prefix`, or, if
        that is less, one per path and one per 1,000 yielded objects.
        """

    @abstractmethod
    async def move(self, source: str, target: str) -> None:
        """Rename an object, replacing an existing one; it is complete at `target` before it disappears from `source`.

        Raises:
            ObjectNotFoundError: there is no object at `source`.
        """

    @abstractmethod
    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects and nothing else. Idempotent. One request per 1,000 keys on object stores.

        Raises:
            StorageUnavailableError: at least one object could not be removed; others may have been removed.
        """

    @abstractmethod
    async def delete_tree(self, *prefixes: str) -> None:
        """Remove the objects at these prefixes and below them, including staged bytes. Idempotent.

        Prefixes with a common parent share the listing of that parent and the delete requests. If a tree cannot be
        removed atomically, keys are removed in descending order. So the `current/link` of a tag, which makes the tag
        listed and pullable, is removed after the tag's history.
        """

    @abstractmethod
    async def prune(self, prefixes: Sequence[str], *, below: str) -> None:
        """Remove empty folders at and below these prefixes, then folders above that became empty, up to `below`.

        Never removes an object, or `below` itself. Does nothing, without cost, if the store has no folders. Concurrent
        writes succeed.
        """

    @abstractmethod
    async def drop_unfinished(
        self, prefix: str, *, before: datetime, is_spared: Callable[[str], bool], dry_run: bool = False
    ) -> Sequence[str]:
        """Discard writes below `prefix` that began before `before`, were never finished, and appear in no listing.

        A killed process may leave such writes in an object store, which keeps their parts and charges for them. Does
        nothing if the store has no such writes or cannot list them. Idempotent. One request per 1,000 of them, and one
        per discarded write.

        Args:
            prefix: the prefix to search.
            before: younger writes are kept.
            is_spared: whether the write at a key is still in progress.
            dry_run: only report; discard nothing.

        Returns:
            The key of each discarded write.
        """

    @abstractmethod
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        """Return a URL at which a client may `GET` the object for about 20 minutes, or None. No request."""

    async def check_space(self) -> None:  # noqa: B027 - most stores cannot tell, and do not override it
        """Check cheaply whether the store has free space, if it can tell. No request.

        Raises:
            StorageFullError: uploads fail until space is freed.
        """

    @abstractmethod
    async def check(self) -> None:
        """Check cheaply whether the store responds. At most one request.

        Raises:
            StorageUnavailableError: the store does not respond, or refuses access.
        """
