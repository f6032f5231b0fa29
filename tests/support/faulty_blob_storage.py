"""Blob storage that fails like a real one: at random by a seed, at the k-th operation, or permanently (killed)."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeVar

from typing_extensions import override

from core.errors import StorageUnavailableError
from core.ports.blob_storage import (
    SMALL_OBJECT_BYTES_MAX,
    BlobReader,
    ObjectStat,
    SmallObjects,
)
from core.ports.staging import BlobWriter, StagingStorage

T = TypeVar("T")

MUTATIONS: Final = {
    "write",
    "create",
    "move",
    "delete",
    "delete_tree",
    "append",
    "commit",
    "discard",
    "drop_unfinished",
}


class FaultyBlobStorage(StagingStorage):
    """Passes operations on to `inner` until one is chosen to fail.

    Args:
        inner: the store; opened and closed with this one.
        seed: determines which operations fail; print the seed when a test fails.
        error_rate: share of operations that raise. Half of the failing mutations are carried out and only their answer
            is lost, which a client of a real store cannot distinguish from a failure.
        cut_rate: share of streams that end in an error after some pieces.
        delay_rate: share of operations before which other tasks run.
        splits_trees: whether trees are deleted as in an object store: key by key, in descending order, and each
            deletion can be the last one.
    """

    def __init__(
        self,
        inner: StagingStorage,
        *,
        seed: int = 0,
        error_rate: float = 0.0,
        cut_rate: float = 0.0,
        delay_rate: float = 0.0,
        splits_trees: bool = False,
    ) -> None:
        self.name = inner.name
        self.inner = inner
        self.seed = seed
        self.operations: list[str] = []
        """Operations so far, as `write /a/b`; `fail_at` counts positions in this list."""
        self._random = random.Random(seed)
        self.error_rate = error_rate
        self._cut_rate = cut_rate
        self.delay_rate = delay_rate
        self._splits_trees = splits_trees
        self._fail_at: int | None = None
        self._mutations_left: int | None = None

    @property
    def mutations(self) -> list[str]:
        """The operations so far that change the store."""
        return [operation for operation in self.operations if operation.partition(" ")[0] in MUTATIONS]

    def fail_at(self, number: int) -> None:
        """Make the operation `number`, counted from 1 and from now, raise without being carried out."""
        self._fail_at = len(self.operations) + number

    def stop_after(self, mutations: int) -> None:
        """Carry out `mutations` more mutations; then every operation raises, as if the process were dead."""
        self._mutations_left = mutations

    def heal(self) -> None:
        """Stop failing."""
        self._fail_at = self._mutations_left = None
        self.error_rate = self._cut_rate = 0.0

    @override
    async def start(self) -> None:
        await self.inner.start()

    @override
    async def stop(self) -> None:
        await self.inner.stop()

    @override
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        return await self.carry_out("read", key, lambda: self.inner.read(key, limit=limit))

    @override
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        await self.carry_out("write", key, lambda: self.inner.write(key, content, durable=durable))

    @override
    async def create(self, key: str, content: bytes) -> bool:
        return await self.carry_out("create", key, lambda: self.inner.create(key, content))

    @asynccontextmanager
    @override
    async def open_reader(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[BlobReader]:
        await self.begin("open_reader", key)
        async with self.inner.open_reader(key, offset=offset, length=length) as reader:
            yield _FaultyReader(reader, self.cut)

    @asynccontextmanager
    @override
    async def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AsyncIterator[BlobWriter]:
        await self.begin("open_writer", key)
        async with self.inner.open_writer(key, resume=resume, is_first=is_first, witness=witness) as writer:
            yield _FaultyWriter(writer, key, self)

    @override
    async def staged_size(self, key: str) -> int:
        return await self.carry_out("staged_size", key, lambda: self.inner.staged_size(key))

    @override
    async def stat(self, key: str) -> ObjectStat:
        return await self.carry_out("stat", key, lambda: self.inner.stat(key))

    @override
    async def list_child_pages(self, prefix: str, *, after: str = "") -> AsyncIterator[Sequence[str]]:
        await self.begin("list_children", prefix)
        # Pages of one name, so that a fault comes after any name.
        async for name in self.cut(self.inner.list_children(prefix, after=after)):
            yield [name]

    @override
    async def list_marked(
        self, prefix: str, mark: str, *, after: str = "", passing_over: str = ""
    ) -> AsyncIterator[str]:
        await self.begin("list_marked", prefix)
        async for path in self.cut(self.inner.list_marked(prefix, mark, after=after, passing_over=passing_over)):
            yield path

    @override
    async def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        await self.begin("walk", prefix)
        async for item in self.cut(self.inner.walk(prefix)):
            yield item

    @override
    async def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        await self.begin("walk_within", prefix)
        async for item in self.cut(self.inner.walk_within(prefix, directory)):
            yield item

    @override
    async def move(self, source: str, target: str) -> None:
        await self.carry_out("move", source, lambda: self.inner.move(source, target))

    @override
    async def delete(self, keys: Sequence[str]) -> None:
        await self.carry_out("delete", " ".join(keys), lambda: self.inner.delete(keys))

    @override
    async def delete_tree(self, *prefixes: str) -> None:
        if self._splits_trees:
            for prefix in prefixes:
                for key in sorted([key async for key, _ in self.inner.walk(prefix)], reverse=True):
                    await self.delete([key])
        await self.carry_out("delete_tree", " ".join(prefixes), lambda: self.inner.delete_tree(*prefixes))

    @override
    async def drop_unfinished(
        self, prefix: str, *, before: datetime, is_spared: Callable[[str], bool], dry_run: bool = False
    ) -> Sequence[str]:
        return await self.carry_out(
            "drop_unfinished",
            prefix,
            lambda: self.inner.drop_unfinished(prefix, before=before, is_spared=is_spared, dry_run=dry_run),
        )

    @override
    async def prune(self, prefixes: Sequence[str], *, below: str) -> None:
        await self.inner.prune(prefixes, below=below)

    @override
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        return await self.inner.redirect_url(key, method=method)

    @override
    async def check(self) -> None:
        await self.carry_out("check", "/", self.inner.check)

    async def begin(self, operation: str, key: str) -> None:
        """Count an operation that changes nothing, and raise if it is chosen to fail."""
        await self._wait_and_count(operation, key)
        if self._random.random() < self.error_rate:
            raise self._error(operation, key)

    async def carry_out(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Count an operation and call it; raise before or after the call if it is chosen to fail."""
        await self._wait_and_count(operation, key)
        if self._random.random() >= self.error_rate:
            return await call()
        if operation in MUTATIONS and self._random.random() < 0.5:
            await call()
        raise self._error(operation, key)

    async def cut(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        """Yield all items, or some of them and then raise an error."""
        left = self._random.randrange(3) if self._random.random() < self._cut_rate else None
        async for item in items:
            if left == 0:
                raise StorageUnavailableError(f"cut (seed {self.seed})")
            left = None if left is None else left - 1
            yield item
        if left is not None:
            raise StorageUnavailableError(f"cut at the end (seed {self.seed})")

    async def _wait_and_count(self, operation: str, key: str) -> None:
        if self._random.random() < self.delay_rate:
            for _ in range(self._random.randrange(1, 4)):
                await asyncio.sleep(0)
        if self._mutations_left is not None and self._is_stopped(operation):
            raise self._error(operation, key)
        self.operations.append(f"{operation} {key}")
        if self._fail_at == len(self.operations):
            raise self._error(operation, key)

    def _is_stopped(self, operation: str) -> bool:
        if self._mutations_left == 0 and operation in MUTATIONS:
            # The process dies before this mutation, so all later operations fail too.
            self._mutations_left = -1
        if self._mutations_left is not None and self._mutations_left > 0 and operation in MUTATIONS:
            self._mutations_left -= 1
        return self._mutations_left == -1

    def _error(self, operation: str, key: str) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"injected: {operation} {key} (seed {self.seed}, operation {len(self.operations)})"
        )


class _FaultyReader(BlobReader):
    # No `file`: a copy by the kernel could not be cut.
    def __init__(self, inner: BlobReader, cut: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]) -> None:
        self.size = inner.size
        self.length = inner.length
        self.offset = inner.offset
        self._inner = inner
        self._cut = cut

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._cut(aiter(self._inner))


class _FaultyWriter(BlobWriter):
    def __init__(self, inner: BlobWriter, key: str, storage: FaultyBlobStorage) -> None:
        self._inner = inner
        self._key = key
        self._storage = storage

    @property
    @override
    def size(self) -> int:
        return self._inner.size

    @property
    @override
    def stamp(self) -> str | None:
        return self._inner.stamp

    @override
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        await self._storage.carry_out("append", self._key, lambda: self._inner.write(chunk))

    @override
    async def content(self) -> AsyncIterator[bytes]:
        await self._storage.begin("content", self._key)
        async for piece in self._storage.cut(self._inner.content()):
            yield piece

    @override
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        await self._storage.carry_out("commit", target, lambda: self._inner.commit(target))
        # Each write is a separate step, before which a process can be killed.
        await self._storage.write_all(then)

    @override
    async def discard(self) -> None:
        await self._storage.carry_out("discard", self._key, self._inner.discard)
