"""A decorator that makes any blob storage observable.

The decorator does not check keys: each adapter does, so a key is checked once, decorated or not.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from typing_extensions import override

from core.ports.blob_storage import (
    SMALL_OBJECT_BYTES_MAX,
    BlobReader,
    BlobStorage,
    BlobWriter,
    ObjectStat,
    SmallObjects,
)

T = TypeVar("T")
Observer = Callable[[str, float, type[BaseException] | None], None]

_logger = logging.getLogger(__name__)


class InstrumentedBlobStorage(BlobStorage):
    """Reports the duration of each operation of `inner`, including failed ones, and logs it at debug level.

    The duration of a listing is the time spent in the store, without the caller's time between the items. Readers are
    passed through unchanged, so that the kernel can copy from their file; their pieces are not timed. Adds about a
    microsecond.

    Args:
        inner: opened and closed with this storage.
        observe: called with the port method's name (for writers `append`, `content`, `commit` or `discard`), the
            duration in seconds, and the type of the exception that ended the operation, if any.
        clock: returns seconds since an arbitrary start.
    """

    def __init__(self, inner: BlobStorage, *, observe: Observer, clock: Callable[[], float]) -> None:
        self.name = inner.name
        self.creates_exclusively = inner.creates_exclusively
        self.passes_over = inner.passes_over
        self._inner = inner
        self._observe = observe
        self._clock = clock

    @override
    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    @override
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        with self._timed("read", key):
            return await self._inner.read(key, limit=limit)

    @override
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        with self._timed("write", key):
            await self._inner.write(key, content, durable=durable)

    @override
    async def write_all(self, objects: SmallObjects) -> None:
        with self._timed("write_all", objects[0][0] if objects else ""):
            await self._inner.write_all(objects)

    @override
    async def create(self, key: str, content: bytes) -> bool:
        with self._timed("create", key):
            is_created = await self._inner.create(key, content)
        # The first conditional write may reveal that the store does not support them.
        self.creates_exclusively = self._inner.creates_exclusively
        return is_created

    @asynccontextmanager
    @override
    async def open_reader(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[BlobReader]:
        async with AsyncExitStack() as stack:
            with self._timed("open_reader", key):
                reader = await stack.enter_async_context(self._inner.open_reader(key, offset=offset, length=length))
            yield reader

    @asynccontextmanager
    @override
    async def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AsyncIterator[BlobWriter]:
        async with AsyncExitStack() as stack:
            with self._timed("open_writer", key):
                writer = await stack.enter_async_context(
                    self._inner.open_writer(key, resume=resume, is_first=is_first, witness=witness)
                )
            yield _InstrumentedWriter(writer, key, self._timed, self._timed_items)

    @override
    async def staged_size(self, key: str) -> int:
        with self._timed("staged_size", key):
            return await self._inner.staged_size(key)

    @override
    async def stat(self, key: str) -> ObjectStat:
        with self._timed("stat", key):
            return await self._inner.stat(key)

    @override
    def list_children(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        return self._timed_items("list_children", prefix, self._inner.list_children(prefix, after=after))

    @override
    def list_marked(self, prefix: str, *, after: str = "", passing_over: str = "") -> AsyncIterator[str]:
        return self._timed_items(
            "list_marked", prefix, self._inner.list_marked(prefix, after=after, passing_over=passing_over)
        )

    @override
    def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        return self._timed_items("walk", prefix, self._inner.walk(prefix))

    @override
    def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        return self._timed_items("walk_within", prefix, self._inner.walk_within(prefix, directory))

    @override
    async def move(self, source: str, target: str) -> None:
        with self._timed("move", source):
            await self._inner.move(source, target)

    @override
    async def delete(self, keys: Sequence[str]) -> None:
        with self._timed("delete", keys[0] if keys else ""):
            await self._inner.delete(keys)

    @override
    async def delete_tree(self, *prefixes: str) -> None:
        with self._timed("delete_tree", prefixes[0] if prefixes else ""):
            await self._inner.delete_tree(*prefixes)

    @override
    async def drop_unfinished(
        self, prefix: str, *, before: datetime, is_spared: Callable[[str], bool], dry_run: bool = False
    ) -> Sequence[str]:
        with self._timed("drop_unfinished", prefix):
            return await self._inner.drop_unfinished(prefix, before=before, is_spared=is_spared, dry_run=dry_run)

    @override
    async def prune(self, prefixes: Sequence[str], *, below: str) -> None:
        with self._timed("prune", below):
            await self._inner.prune(prefixes, below=below)

    @override
    async def redirect_url(self, key: str, *, method: str) -> str | None:
        with self._timed("redirect_url", key):
            return await self._inner.redirect_url(key, method=method)

    @override
    async def check_space(self) -> None:
        with self._timed("check_space", "/"):
            await self._inner.check_space()

    @override
    async def check(self) -> None:
        with self._timed("check", "/"):
            await self._inner.check()

    def _timed(self, operation: str, key: str) -> "_Timer":
        return _Timer(self, operation, key)

    def seconds(self) -> float:
        """Return the current reading of the clock."""
        return self._clock()

    def report(self, operation: str, key: str, seconds: float, error: type[BaseException] | None) -> None:
        """Report one operation that has ended."""
        self._observe(operation, seconds, error)
        _logger.debug("%s %s took %.6f s", operation, key, seconds)

    async def _timed_items(self, operation: str, key: str, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        seconds = 0.0
        failure: type[BaseException] | None = None
        try:
            while True:
                began = self._clock()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    failure = type(error)
                    raise
                finally:
                    seconds += self._clock() - began
                yield item
        finally:
            self.report(operation, key, seconds, failure)
            if isinstance(items, AsyncGenerator):
                # A caller that stops early closes only this generator, so close the inner one here.
                await items.aclose()


class _Timer:
    """Context manager that times one operation; a generator would cost as much as all the rest."""

    __slots__ = ("_began", "_key", "_operation", "_storage")

    def __init__(self, storage: InstrumentedBlobStorage, operation: str, key: str) -> None:
        self._storage = storage
        self._operation = operation
        self._key = key

    def __enter__(self) -> None:
        self._began = self._storage.seconds()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._storage.report(self._operation, self._key, self._storage.seconds() - self._began, kind)


class _InstrumentedWriter(BlobWriter):
    def __init__(
        self,
        inner: BlobWriter,
        key: str,
        timed: Callable[[str, str], _Timer],
        timed_items: Callable[[str, str, AsyncIterator[bytes]], AsyncIterator[bytes]],
    ) -> None:
        self._inner = inner
        self._key = key
        self._timed = timed
        self._timed_items = timed_items
        if inner.append_now is not None:
            self.append_now = self._append_now

    def _append_now(self, chunk: memoryview) -> None:
        if self._inner.append_now is None:
            raise RuntimeError("the writer does not support appending from threads")
        with self._timed("append", self._key):
            self._inner.append_now(chunk)

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
        with self._timed("append", self._key):
            await self._inner.write(chunk)

    @override
    def content(self) -> AsyncIterator[bytes]:
        return self._timed_items("content", self._key, self._inner.content())

    @override
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        with self._timed("commit", self._key):
            await self._inner.commit(target, then=then)

    @override
    async def discard(self) -> None:
        with self._timed("discard", self._key):
            await self._inner.discard()
