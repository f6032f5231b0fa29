"""Blob storage in the memory of this process: a trusted fake for tests, and a registry without persistence.

As strict as the strictest real store: a key cannot be both an object and a prefix of others (as in a file system), and
staged bytes are not readable at their key (as in an object store).
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from typing_extensions import override

from adapters.blob_storage.keys import require_key, require_prefix
from core.concurrency import slices
from core.errors import (
    ObjectBusyError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    RangeInvalidError,
    StorageUnavailableError,
)
from core.ports.blob_storage import (
    KEYS_PER_REQUEST,
    SMALL_OBJECT_BYTES_MAX,
    BlobReader,
    ObjectStat,
    SmallObjects,
)
from core.ports.staging import BlobWriter, StagingStorage

PIECE_BYTES: Final = 1024 * 1024
"""The length of the pieces that readers yield."""

_AFTER_SLASH: Final = chr(ord("/") + 1)


@dataclass(frozen=True, slots=True)
class _Object:
    content: bytes
    stat: ObjectStat


class InMemoryBlobStorage(StagingStorage):
    """Objects in a dictionary, lost with the process; every operation is atomic and ends without suspending.

    Keys are kept sorted, so a listing skips hidden keys as cheaply as an object store's delimiter does.

    Args:
        now: returns the current time, UTC-aware.
    """

    name = "inmemory"

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []
        self._staged: dict[str, bytearray] = {}
        self._busy: set[str] = set()

    def held(self) -> list[str]:
        """Return all keys that take memory: of objects, of staged bytes and of open writers."""
        return [*self._objects, *self._keys, *self._staged, *self._busy]

    @override
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        content = self._object(key).content
        if len(content) > limit:
            raise ObjectTooLargeError(key, size=len(content), limit=limit)
        return content

    @override
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        # As on an object store, only objects written in one piece have an MD5: callers must handle both cases.
        self._put(key, bytes(content), md5=hashlib.md5(content, usedforsecurity=False).hexdigest())

    @override
    async def create(self, key: str, content: bytes) -> bool:
        if require_key(key) in self._objects:
            return False
        await self.write(key, content)
        return True

    @asynccontextmanager
    @override
    async def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator["_MemoryReader"]:
        content = self._object(key).content
        if offset > len(content):
            raise RangeInvalidError(len(content))
        end = len(content) if length is None else min(offset + length, len(content))
        yield _MemoryReader(content, offset, end)

    @asynccontextmanager
    @override
    async def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AsyncIterator["_MemoryWriter"]:
        require_key(key)
        if key in self._busy or (is_first and self._staged.get(key)):
            raise ObjectBusyError(key)
        if is_first and witness is not None:
            self._object(witness)
        self._busy.add(key)
        try:
            if not resume:
                self._staged.pop(key, None)
            yield _MemoryWriter(key, self._staged, self._put, self.write_all)
        finally:
            self._busy.discard(key)

    @override
    async def staged_size(self, key: str) -> int:
        return len(self._staged.get(require_key(key), b""))

    @override
    async def stat(self, key: str) -> ObjectStat:
        return self._object(key).stat

    @override
    async def list_child_pages(self, prefix: str, *, after: str = "") -> AsyncIterator[Sequence[str]]:
        names = sorted(name for name in set(self._children(require_prefix(prefix))) if name > after)
        for page in slices(names, KEYS_PER_REQUEST):
            yield page

    @override
    async def list_marked(
        self, prefix: str, mark: str, *, after: str = "", passing_over: str = ""
    ) -> AsyncIterator[str]:
        for path in sorted(set(self._marked(require_prefix(prefix), mark, passing_over=passing_over))):
            if path > after:
                yield path

    @override
    async def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        for key in self._keys_below(require_prefix(prefix)):
            stored = self._objects.get(key)
            if stored is not None:
                yield key, stored.stat

    @override
    async def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        for path in sorted(set(self._marked(require_prefix(prefix), directory[0]))):
            async for item in self.walk(f"{prefix.rstrip('/')}/{path}/{directory}"):
                yield item

    @override
    async def move(self, source: str, target: str) -> None:
        stored = self._object(source)
        if source != target:
            self._put(target, stored.content, md5=stored.stat.md5)
            self._remove(source)

    @override
    async def delete(self, keys: Sequence[str]) -> None:
        for key in [require_key(key) for key in keys]:
            self._remove(key)

    @override
    async def delete_tree(self, *prefixes: str) -> None:
        belows = {prefix: require_prefix(prefix) for prefix in prefixes}
        for prefix, below in belows.items():
            for key in [prefix, *self._keys_below(below)]:
                self._remove(key)
            for key in [key for key in self._staged if key == prefix or key.startswith(below)]:
                del self._staged[key]

    @override
    async def check(self) -> None:
        """Do nothing: memory is always available."""

    def _object(self, key: str) -> _Object:
        stored = self._objects.get(require_key(key))
        if stored is None:
            raise ObjectNotFoundError(key)
        return stored

    def _put(self, key: str, content: bytes, *, md5: str | None = None) -> None:
        if require_key(key) not in self._objects:
            self._require_place(key)
            insort(self._keys, key)
        self._objects[key] = _Object(content, ObjectStat(size=len(content), modified_at=self._now(), md5=md5))

    def _require_place(self, key: str) -> None:
        ancestor = key.rpartition("/")[0]
        while ancestor:
            if ancestor in self._objects:
                raise StorageUnavailableError(f"cannot store {key}: {ancestor} is an object")
            ancestor = ancestor.rpartition("/")[0]
        if self._keys_below(f"{key}/"):
            raise StorageUnavailableError(f"cannot store {key}: there are objects below it")

    def _remove(self, key: str) -> None:
        if self._objects.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def _keys_below(self, below: str) -> list[str]:
        start = bisect_left(self._keys, below)
        return self._keys[start : bisect_left(self._keys, below[:-1] + _AFTER_SLASH, start)]

    def _children(self, below: str) -> Iterator[str]:
        keys = self._keys_below(below)
        position = 0
        while position < len(keys):
            name, slash, _ = keys[position][len(below) :].partition("/")
            yield name
            # Skip all other keys below this child at once.
            position = bisect_left(keys, below + name + _AFTER_SLASH, position) if slash else position + 1

    def _marked(self, below: str, mark: str, *, passing_over: str = "") -> Iterator[str]:
        keys = self._keys_below(below)
        position = 0
        while position < len(keys):
            path, found, _ = keys[position][len(below) - 1 :].partition(f"/{mark}")
            # The keys below other marked children of this path follow directly; skip them.
            end = bisect_left(keys, f"{below[:-1]}{path}/{chr(ord(mark) + 1)}", position) if found else position + 1
            passed_over = f"{below[:-1]}{path}/{passing_over}/" if passing_over else None
            if found and path and not (passed_over and all(key.startswith(passed_over) for key in keys[position:end])):
                yield path[1:]
            position = end


class _MemoryReader(BlobReader):
    def __init__(self, content: bytes, offset: int, end: int) -> None:
        self.size = len(content)
        self.length = end - offset
        self.offset = offset
        self._content = content

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        end = self.offset + self.length
        for start in range(self.offset, end, PIECE_BYTES):
            yield self._content[start : min(start + PIECE_BYTES, end)]


class _MemoryWriter(BlobWriter):
    def __init__(
        self,
        key: str,
        staged: dict[str, bytearray],
        put: Callable[[str, bytes], None],
        write_all: Callable[[SmallObjects], Awaitable[None]],
    ) -> None:
        self._key = key
        self._write_all = write_all
        self._staged = staged
        self._put = put
        self._size = len(staged.setdefault(key, bytearray()))
        self._is_writable = True

    @property
    @override
    def size(self) -> int:
        return self._size

    @override
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self._append(chunk)

    @override
    def append_now(self, chunk: memoryview) -> None:
        self._append(chunk)

    def _append(self, chunk: bytes | bytearray | memoryview) -> None:
        if not self._is_writable:
            raise RuntimeError("the writer is closed")
        self._buffer().extend(chunk)
        self._size += len(chunk)

    @override
    async def content(self) -> AsyncIterator[bytes]:
        self._is_writable = False
        buffer = self._buffer()
        for start in range(0, len(buffer), PIECE_BYTES):
            yield bytes(buffer[start : start + PIECE_BYTES])

    @override
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        self._put(target, bytes(self._buffer()))
        del self._staged[self._key]
        self._is_writable = False
        await self._write_all(then)

    @override
    async def discard(self) -> None:
        self._staged.pop(self._key, None)
        self._is_writable = False

    def _buffer(self) -> bytearray:
        buffer = self._staged.get(self._key)
        if buffer is None:
            # Committed, discarded, or removed by `delete_tree` in the meantime.
            raise ObjectNotFoundError(self._key)
        return buffer
