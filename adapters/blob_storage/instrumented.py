"""A decorator that makes any blob storage observable.

The decorator does not check keys: each adapter does, so a key is checked once, decorated or not.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from typing_extensions import override

from core.ports.blob_storage import SmallObjects
from core.ports.staging import BlobWriter, StagingStorage
from core.ports.tracing import StorageObserver

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger(__name__)


def _call(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["InstrumentedBlobStorage", P], Coroutine[Any, Any, T]]:
    """Return the observed form of a method that is one operation."""
    name = method.__name__

    async def observed(self: "InstrumentedBlobStorage", /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Spelled out, since these are the hot methods: a context manager would cost as much as all the rest.
        began = self.clock()
        failure: type[BaseException] | None = None
        try:
            result: T = await getattr(self.inner, name)(*args, **kwargs)
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            self.report(name, args, self.clock() - began, failure)
        return result

    return observed


def _block(
    method: Callable[Concatenate[Any, P], AbstractAsyncContextManager[T]],
) -> Callable[Concatenate["InstrumentedBlobStorage", P], AbstractAsyncContextManager[T]]:
    """Return the observed form of a method that opens a block; only entering it is timed."""
    name = method.__name__

    @asynccontextmanager
    async def observed(self: "InstrumentedBlobStorage", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        async with AsyncExitStack() as stack:
            with self.timed(name, args):
                opened: T = await stack.enter_async_context(getattr(self.inner, name)(*args, **kwargs))
            yield opened

    return observed


def _listing(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> Callable[Concatenate["InstrumentedBlobStorage", P], AsyncIterator[T]]:
    """Return the observed form of a method that lists."""
    name = method.__name__

    def observed(self: "InstrumentedBlobStorage", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items: AsyncIterator[T] = getattr(self.inner, name)(*args, **kwargs)
        return self.timed_items(name, args, items)

    return observed


class InstrumentedBlobStorage(StagingStorage):
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

    def __init__(self, inner: StagingStorage, *, observe: StorageObserver, clock: Callable[[], float]) -> None:
        self.name = inner.name
        self.creates_exclusively = inner.creates_exclusively
        self.inner = inner
        self.clock = clock
        self._observe = observe

    @override
    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.inner.__aexit__(kind, error, trace)

    @override
    async def create(self, key: str, content: bytes) -> bool:
        with self.timed("create", key):
            is_created = await self.inner.create(key, content)
        # The first conditional write may reveal that the store does not support them.
        self.creates_exclusively = self.inner.creates_exclusively
        return is_created

    @asynccontextmanager
    @override
    async def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AsyncIterator[BlobWriter]:
        async with AsyncExitStack() as stack:
            with self.timed("open_writer", key):
                writer = await stack.enter_async_context(
                    self.inner.open_writer(key, resume=resume, is_first=is_first, witness=witness)
                )
            yield _InstrumentedWriter(writer, key, self)

    read = _call(StagingStorage.read)
    write = _call(StagingStorage.write)
    write_all = _call(StagingStorage.write_all)
    open_reader = _block(StagingStorage.open_reader)
    staged_size = _call(StagingStorage.staged_size)
    stat = _call(StagingStorage.stat)
    list_children = _listing(StagingStorage.list_children)
    list_marked = _listing(StagingStorage.list_marked)
    walk = _listing(StagingStorage.walk)
    walk_within = _listing(StagingStorage.walk_within)
    move = _call(StagingStorage.move)
    delete = _call(StagingStorage.delete)
    delete_tree = _call(StagingStorage.delete_tree)
    prune = _call(StagingStorage.prune)
    drop_unfinished = _call(StagingStorage.drop_unfinished)
    redirect_url = _call(StagingStorage.redirect_url)
    check_space = _call(StagingStorage.check_space)
    check = _call(StagingStorage.check)

    def timed(self, operation: str, subject: object) -> "_Timer":
        """Return a block that reports one operation; `subject` is a key, or holds it first."""
        return _Timer(self, operation, subject)

    async def timed_items(self, operation: str, subject: object, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """Yield the items of a listing or stream, and report it as one operation."""
        seconds = 0.0
        failure: type[BaseException] | None = None
        try:
            while True:
                began = self.clock()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    failure = type(error)
                    raise
                finally:
                    seconds += self.clock() - began
                yield item
        finally:
            self.report(operation, subject, seconds, failure)
            if isinstance(items, AsyncGenerator):
                # A caller that stops early closes only this generator, so close the inner one here.
                await items.aclose()

    def report(self, operation: str, subject: object, seconds: float, error: type[BaseException] | None) -> None:
        """Report one operation that has ended."""
        self._observe(operation, seconds, error)
        if _logger.isEnabledFor(logging.DEBUG):
            _logger.debug("%s %s took %.6f s", operation, _key_in(subject), seconds)


def _key_in(subject: object) -> str:
    """Return the first key among the arguments of an operation, `/` if there is none."""
    while subject and isinstance(subject, Sequence) and not isinstance(subject, str):
        subject = subject[0]
    return subject if isinstance(subject, str) else "/"


class _Timer:
    """Context manager that times one operation; a generator would cost as much as all the rest."""

    __slots__ = ("_began", "_operation", "_storage", "_subject")

    def __init__(self, storage: InstrumentedBlobStorage, operation: str, subject: object) -> None:
        self._storage = storage
        self._operation = operation
        self._subject = subject

    def __enter__(self) -> None:
        self._began = self._storage.clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._storage.report(self._operation, self._subject, self._storage.clock() - self._began, kind)


class _InstrumentedWriter(BlobWriter):
    def __init__(self, inner: BlobWriter, key: str, storage: InstrumentedBlobStorage) -> None:
        self._inner = inner
        self._key = key
        self._storage = storage
        if inner.append_now is not None:
            self.append_now = self._append_now

    def _append_now(self, chunk: memoryview) -> None:
        if self._inner.append_now is None:
            raise RuntimeError("the writer does not support appending from threads")
        with self._storage.timed("append", self._key):
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
        with self._storage.timed("append", self._key):
            await self._inner.write(chunk)

    @override
    def content(self) -> AsyncIterator[bytes]:
        return self._storage.timed_items("content", self._key, self._inner.content())

    @override
    async def commit(self, target: str, *, then: SmallObjects = ()) -> None:
        with self._storage.timed("commit", self._key):
            await self._inner.commit(target, then=then)

    @override
    async def discard(self) -> None:
        with self._storage.timed("discard", self._key):
            await self._inner.discard()
