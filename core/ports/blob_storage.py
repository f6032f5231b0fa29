"""The port for keyed byte storage: folders, object stores, memory.

A *key* is an absolute slash path from `core.store.layout` (`/docker/registry/v2/…`). Its components consist of letters,
digits, `.`, `_` and `-`, are joined by single slashes, and are never `.` or `..`. Other programs may put other names
into a store (`@eaDir`, `lost+found`): no listing yields these names or anything below them. A *prefix* is a key that
stands for its descendants, not for all keys that begin with the same characters: `/a/b` is below `/a`, `/ab` is not.
`/` is the prefix of every key.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from core.concurrency import closing
from core.content_source import FillPipe, Offload
from core.model.freshness import Freshness
from core.ports.resource import Resource

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpace:
    """The disk of a store, in bytes."""

    total: int
    free: int
    """Space that the registry may use."""


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
    fill_pipe: FillPipe | None = None
    """Moves the content to a pipe within the kernel, instead of iteration; present if the store can do that."""
    freshness: Freshness | None = None
    """The relation of the content to an upstream; None for a local repository."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in chunks of bounded size, `length` bytes in total.

        Raises:
            StorageUnavailableError: the store failed, or the content ended early; the result is never silently short.
        """

    async def read(self) -> bytes | bytearray:
        """Return the whole content, instead of iteration; for a small `length`, since memory holds all of it.

        Raises:
            the errors of iteration.
        """
        return b"".join([piece async for piece in self])


class BlobStorage(Resource):
    """Keyed byte storage. One per process, opened as a context manager; safe for concurrent tasks.

    Every method may raise `StorageUnavailableError`. A read sees every write that completed before the read began.
    """

    name: str
    """The driver's name in configuration, metrics and logs."""
    creates_exclusively: bool = True
    """Whether `create` is exclusive across processes; false for a store without conditional writes."""
    tells_md5: bool = True
    """Whether listings report the MD5 of small objects; if not, the content of a link costs a read."""

    @property
    def answers_at_once(self) -> bool:
        """Whether most small reads and `stat`s end without waiting, so that a few side by side take no less time."""
        return False

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
        """Store small objects one after the other, each like `write`.

        If this raises, the process is killed or the power is cut, the first objects are stored and the rest are not.
        One request per object; a store that works in threads switches threads once for all of them.
        """
        for key, content in objects:
            await self.write(key, content)

    async def write_then_remove(
        self, objects: SmallObjects, *, trees: Sequence[str] = (), keys: Sequence[str] = ()
    ) -> None:
        """Store small objects like `write_all`, then remove these trees, then these keys: records before their items.

        If this raises, the process is killed or the power is cut, the first steps are done and the rest are not.
        Idempotent. The requests are those of `write_all`, `delete_tree` and `delete`; a store that works in threads
        switches threads once for all of them.
        """
        await self.write_all(objects)
        if trees:
            await self.delete_tree(*trees)
        if keys:
            await self.delete(keys)

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
    async def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object. One request.

        Raises:
            ObjectNotFoundError: there is no object at `key`, even if there are keys below it.
        """

    @abstractmethod
    def list_child_pages(self, prefix: str, *, after: str = "") -> AsyncIterator[Sequence[str]]:
        """Yield the names directly below `prefix`, of objects and prefixes alike, in pages of any length.

        Only names greater than `after`, each once, ascending by code point within a page and from page to page. Nothing
        for a missing prefix. About one request per 1,000 names on object stores, made when a page is asked for. The
        caller must not change a page.
        """

    async def list_children(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Yield the names of `list_child_pages` one by one."""
        async with closing(self.list_child_pages(prefix, after=after)) as pages:
            async for names in pages:
                for name in names:
                    yield name

    @abstractmethod
    def list_marked(self, prefix: str, mark: str, *, after: str = "", passing_over: str = "") -> AsyncIterator[str]:
        """Yield each path below `prefix` that directly contains a child whose name begins with `mark`.

        With the mark `_`, the key `<prefix>/a/b/_c/…` yields `a/b`. Paths are relative to `prefix`, unique, greater
        than `after`, and ascending by code point as whole strings (`a`, `a-b`, `a.b`, `a/b`). The content of a marked
        child is not searched. Costs about one request per 1,000 paths on object stores, which roll up the keys after
        the delimiter `/` and the mark. On folders it costs the directories between `after` and the point where the
        caller stops.

        Args:
            prefix: the parent of all paths.
            mark: one character.
            after: any text; the empty text means from the start.
            passing_over: a name that begins with `mark`. A path whose only marked child has this name is left out,
                unless the store would need a request for each path to find out.
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

        The first character of `directory` is the mark. Objects within one child of such a directory are consecutive;
        otherwise the order is unspecified, as for `walk`. On object stores this costs one request per 1,000 objects
        below `prefix`, or, if that is less, one per path and one per 1,000 yielded objects.
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

    async def clear(self, *prefixes: str) -> None:
        """Remove trees like `delete_tree`; a power cut soon after may bring them back, if that is cheaper."""
        await self.delete_tree(*prefixes)

    async def prune(self, prefixes: Sequence[str], *, below: str) -> None:
        """Remove empty folders at and below these prefixes, then folders above that became empty, up to `below`.

        Never removes an object, or `below` itself. Concurrent writes succeed. No request: a store without folders does
        not override this.
        """

    async def redirect_url(self, key: str, *, method: str) -> str | None:
        """Return a URL at which a client may `GET` the object for about 20 minutes, or None. No request."""
        return None

    async def check_space(self) -> None:
        """Check cheaply whether the store has free space, if it can tell. No request.

        Raises:
            StorageFullError: uploads fail until space is freed.
        """

    async def space(self) -> DiskSpace | None:
        """Return the size and the free space of the disk, or None if the store has no disk of its own. No request."""
        return None

    @abstractmethod
    async def check(self) -> None:
        """Check cheaply whether the store responds. At most one request.

        Raises:
            StorageUnavailableError: the store does not respond, or refuses access.
        """
