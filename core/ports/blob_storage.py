"""The port for keyed byte storage: folders, object stores, memory.

A *key* is an absolute slash path from `core.layout` (`/docker/registry/v2/…`): components of letters, digits, `.`,
`_` and `-`, joined by single slashes, never `.` or `..`. Other programs may put other names into a store (`@eaDir`,
`lost+found`): no listing yields them, nor what lies below them. A *prefix* is a key whose descendants are meant, never
the keys that merely begin with the same characters: below `/a` lies `/a/b`, not `/ab`. `/` is the prefix of everything.
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
"""The default limit of `read`: links take 71 bytes, manifests at most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStat:
    """What a store knows of an object without reading it."""

    size: int
    modified_at: datetime
    """When it was last written, UTC-aware, by the store's clock."""
    md5: str | None = None
    """Hex MD5 of the content where the store tells it for nothing, else None; it saves reading many small links."""


class BlobReader(ABC):
    """An open object, read once, from `offset` on, by one task; lives as long as its `open_reader` block."""

    size: int
    """Bytes of the whole object."""
    length: int
    """Bytes that this reader yields."""
    committed_size: int | None = None
    """Bytes that the object had when it was committed, where the store keeps their number apart from the content."""
    version: str | None = None
    """A text that differs after each write to the key, where the store shows one for nothing."""
    file: BinaryIO | None = None
    """The open file where the bytes lie plain in one and the kernel can copy them, beginning at `offset`."""
    offset: int = 0
    offload: Offload | None = None
    """Threads of the store for whoever reads `file`, which may wait for the disk; there where `file` is."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces of a bounded size, `length` bytes together.

        Raises:
            StorageUnavailableError: the store failed, or ended early: never a silently short answer.
        """


class BlobWriter(ABC):
    """A staged object: bytes are appended across blocks, replicas and restarts, then committed to a key.

    Used by one task at a time. Memory is bounded whatever the size.
    """

    append_now: Callable[[memoryview], None] | None = None
    """`write` for threads where the store is a local file: it blocks. Nothing else is called meanwhile."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes accepted so far, those of earlier blocks included."""

    @property
    def stamp(self) -> str | None:
        """What tells the bytes that earlier blocks left from any others that were ever staged there.

        Once the block was left, it is that of what it left. None where `size` tells: of so many bytes there were never
        any others. Bytes that a power cut may have replaced by others of the same number have another stamp after it.
        """
        return None

    @abstractmethod
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`, which the caller does not change before this returns.

        Small chunks may wait in memory until the block is left, which then fails if they cannot be kept.

        Raises:
            StorageUnavailableError: the store failed or is full. What earlier calls wrote is kept.
        """

    @abstractmethod
    def content(self) -> AsyncIterator[bytes]:
        """Yield all bytes accepted so far, from the first; after that only `commit` and `discard` are allowed."""

    @abstractmethod
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        """Make the bytes readable at `target`, whole, durable and at once, replacing what was there.

        Then the objects of `then` are written, as `write_all` does.

        A writer that resumes at the staged key afterwards begins at 0. If this raises, `target` holds what it held
        before or all of the new bytes, and the staged bytes may be committed again in a later block. Costs at most
        a rename or a server-side copy, never a transfer of all bytes through this process.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Drop the staged bytes. Idempotent, also after `commit`, which it does not undo."""


class BlobStorage(ABC):
    """Keyed byte storage; one per process, safe for any number of tasks, opened and closed as a context manager.

    Every method may raise `StorageUnavailableError`. Reads see every write that was answered before they began.
    """

    name: str
    """The driver's name in configuration, metrics and logs."""
    creates_exclusively: bool = True
    """Whether `create` holds against other processes too; not where a store has no conditional write."""

    async def __aenter__(self) -> Self:
        """Open what the adapter needs (pools, sessions)."""
        return self

    async def __aexit__(  # noqa: B027 - optional: memory has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it again."""

    @abstractmethod
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        """Return a small object whole. One request.

        Raises:
            ObjectNotFoundError: nothing is there.
            ObjectTooLargeError: it has more than `limit` bytes; nothing of it was held.
        """

    @abstractmethod
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        """Store a small object. One request.

        Atomic: a reader sees all of the old or all of the new content, and a key is listed only once its content
        is readable, whenever the process is killed. Last writer wins. Survives a power cut as soon as this returns;
        with `durable` false some time later, where that is cheaper.
        """

    async def write_all(self, objects: SmallObjects) -> None:
        """Store small objects one after the other, each as `write` does, durable before the next one appears.

        If this raises, or the process is killed, a beginning of them is stored. One request each; where a store lies
        behind threads, one change of them for all.
        """
        for key, content in objects:
            await self.write(key, content)

    @abstractmethod
    async def create(self, key: str, content: bytes) -> bool:
        """Store a small object only where nothing is; return whether that was done. At most two requests.

        As atomic and durable as `write`. Of any number of `create`s of a key at once, in any number of processes, one
        returns True and its content stays; without `creates_exclusively` that is promised for those of one process
        only. False may also be the answer where the store took our content and its own answer was lost: read the key.
        """

    @abstractmethod
    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[BlobReader]:
        """Open an object for streaming. One request.

        A missing key or an `offset` beyond the end fails on entering the block, before the first byte; `offset`
        equal to the size is an empty read. `length` is cut at the end of the object; None means all of the rest.

        Raises:
            ObjectNotFoundError: nothing is there.
            RangeInvalidError: `offset` is greater than the size.
        """

    @abstractmethod
    def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AbstractAsyncContextManager[BlobWriter]:
        """Stage an object at `key`, anew or (`resume`) after what earlier blocks left there.

        With `is_first` the caller believes that nothing is staged there. Then a store may look at the key as late as
        bytes are to be kept, so that an object that waits in memory costs nothing but its commit. A store where bytes
        that are staged then would have the `stamp` of earlier ones, or none, raises `ObjectBusyError` if something is
        staged after all, and `ObjectNotFoundError` if the object `witness` is gone, which tells for how long anything
        may be staged.

        Leaving the block, in whatever way, without `commit` or `discard` keeps the bytes written so far, across a
        restart and for other replicas on the same store. Staged bytes are not promised to be readable at `key`,
        nor to be hidden: stage only where nobody else reads. `resume` with nothing staged begins at 0.

        Raises:
            ObjectBusyError: another writer of this process or machine has the key open.
        """

    @abstractmethod
    async def staged_size(self, key: str) -> int:
        """Return how many bytes are staged at `key`, 0 where nothing is; also while a writer has it open.

        What it tells is what a writer that resumes next would begin with. One or two requests.
        """

    @abstractmethod
    async def stat(self, key: str) -> ObjectStat:
        """Tell size and time of an object. One request.

        Raises:
            ObjectNotFoundError: nothing is there (a mere prefix of other keys is nothing).
        """

    @abstractmethod
    def list_children(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Yield the names directly below `prefix`, objects and prefixes alike, ascending by code point.

        Only names greater than `after`. Empty for a missing prefix. One request per 1,000 names on object stores.
        """

    @abstractmethod
    def list_marked(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Yield each path below `prefix` that directly holds a child whose name begins with `_`.

        This is how repositories are found: `a/b` for the key `<prefix>/a/b/_layers/…`. Paths are relative to
        `prefix`, ascending by code point as whole strings (`a`, `a-b`, `a.b`, `a/b`), only those greater than
        `after`, each once. What lies below a `_…` child is not looked into. Costs about one request per 1,000
        paths on object stores, and on folders the directories between `after` and where the caller stops.
        """

    @abstractmethod
    def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        """Yield every object below `prefix`, in no promised order, streamed in bounded memory.

        Objects that come or go meanwhile may be seen or not. One request per 1,000 objects on object stores.
        """

    @abstractmethod
    def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        """Yield every object below `<prefix>/<path>/<directory>`, for each path that `list_marked` tells.

        `directory` begins with `_`. What lies in one child of such a directory comes together, otherwise the order is
        as little promised as that of `walk`. On object stores one request per 1,000 objects below `prefix`, and where
        that is less, one for each path and one per 1,000 objects that are yielded.
        """

    @abstractmethod
    async def move(self, source: str, target: str) -> None:
        """Give an object another key, replacing what was there; complete at `target` before gone from `source`.

        Raises:
            ObjectNotFoundError: nothing is at `source`.
        """

    @abstractmethod
    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects and nothing else. Idempotent. One request per 1,000 keys on object stores.

        Raises:
            StorageUnavailableError: at least one could not be removed; others may be gone.
        """

    @abstractmethod
    async def delete_tree(self, *prefixes: str) -> None:
        """Remove the objects at these prefixes and all below them, staged bytes included. Idempotent.

        Prefixes with one parent cost no more listings than the parent has pages, and their objects share the
        requests that delete them. Where a tree does not vanish atomically, keys go in descending order, so that
        `current/link` of a tag, which makes it listed and pullable, outlives what explains it.
        """

    @abstractmethod
    async def prune(self, prefixes: Sequence[str], *, below: str) -> None:
        """Remove empty folders at and below these prefixes, then those above them that are empty now, up to `below`.

        Never an object, nor `below` itself. Where there are no folders nothing is done, at no cost. Whoever writes at
        the same moment succeeds.
        """

    @abstractmethod
    async def drop_unfinished(
        self, prefix: str, *, before: datetime, is_spared: Callable[[str], bool], dry_run: bool = False
    ) -> Sequence[str]:
        """Drop writes below `prefix` that were begun before `before`, never finished, and show in no listing.

        That is what a killed process may leave in an object store, which keeps the parts and asks to be paid for them.
        Nothing where a store keeps no such thing, or cannot tell. Idempotent. One request per 1,000 of them, and one
        for each that is dropped.

        Args:
            prefix: where to look.
            before: younger ones stay.
            is_spared: tells of a key whether its write goes on.
            dry_run: drop nothing, only tell.

        Returns:
            The keys, one for each that was dropped.
        """

    @abstractmethod
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        """Return a URL at which a client may `GET` the object for about 20 minutes, or None. No request."""

    async def check_space(self) -> None:  # noqa: B027 - most stores cannot tell, and do not override it
        """Find out cheaply whether the store has room, where it can tell. No request.

        Raises:
            StorageFullError: uploads fail until space is freed.
        """

    @abstractmethod
    async def check(self) -> None:
        """Find out cheaply whether the store answers. At most one request.

        Raises:
            StorageUnavailableError: it does not, or refuses us.
        """
