"""A decorator that makes any blob storage observable.

The decorator does not check keys: each adapter does, so a key is checked once, decorated or not.
"""

import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from typing_extensions import override

from core.ports.staging import BlobWriter, StagingStorage

P = ParamSpec("P")
T = TypeVar("T")
Observer = Callable[[str, float, type[BaseException] | None], None]

_logger = logging.getLogger(__name__)


class _Observed(Protocol):
    """A decorated object, whose methods the functions below make."""

    inner: Any
    clock: Callable[[], float]

    def report(self, operation: str, subject: object, seconds: float, error: type[BaseException] | None) -> None:
        """Report one operation that has ended; `subject` is its key, or holds it first."""


def _call(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], operation: str = ""
) -> Callable[Concatenate[_Observed, P], Coroutine[Any, Any, T]]:
    """Return the observed form of a method that is one operation."""
    name, operation = method.__name__, operation or method.__name__

    async def observed(self: _Observed, /, *args: P.args, **kwargs: P.kwargs) -> T:
        began = self.clock()
        failure: type[BaseException] | None = None
        try:
            result: T = await getattr(self.inner, name)(*args, **kwargs)
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            self.report(operation, args, self.clock() - began, failure)
        return result

    return observed


def _block(
    method: Callable[Concatenate[Any, P], AbstractAsyncContextManager[T]],
    wrap: Callable[[T, Any, Any], T] = lambda opened, _storage, _key: opened,
) -> Callable[Concatenate[_Observed, P], AbstractAsyncContextManager[T]]:
    """Return the observed form of a method that opens a block; only entering it is timed."""
    name = method.__name__

    def observed(self: _Observed, /, *args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _ObservedBlock(getattr(self.inner, name)(*args, **kwargs), self, name, args, wrap)

    return observed


class _ObservedBlock(AbstractAsyncContextManager[T]):
    """A block of which entering is timed; a class, since a generator with an exit stack takes each pull 3 µs more."""

    def __init__(
        self,
        block: AbstractAsyncContextManager[T],
        observed: _Observed,
        operation: str,
        args: tuple[Any, ...],
        wrap: Callable[[T, Any, Any], T],
    ) -> None:
        self._block = block
        self._observed = observed
        self._operation = operation
        self._args = args
        self._wrap = wrap

    @override
    async def __aenter__(self) -> T:
        observed, began = self._observed, self._observed.clock()
        failure: type[BaseException] | None = None
        try:
            opened = await self._block.__aenter__()
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            observed.report(self._operation, self._args, observed.clock() - began, failure)
        return self._wrap(opened, observed, self._args[0])

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace)


def _stream(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]], operation: str = ""
) -> Callable[Concatenate[_Observed, P], AsyncIterator[T]]:
    """Return the observed form of a method that yields items; the time between the items does not count."""
    name, operation = method.__name__, operation or method.__name__

    async def observed(self: _Observed, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items: AsyncIterator[T] = getattr(self.inner, name)(*args, **kwargs)
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
            self.report(operation, args, seconds, failure)
            if isinstance(items, AsyncGenerator):
                # A caller that stops early closes only this generator, so close the inner one here.
                await items.aclose()

    return observed


class _InstrumentedWriter(BlobWriter):
    def __init__(self, inner: BlobWriter, storage: "InstrumentedBlobStorage", key: str) -> None:
        self.inner = inner
        self.clock = storage.clock
        self._storage = storage
        self._key = key
        if inner.append_now is not None:
            self.append_now = self._append_now

    write = _call(BlobWriter.write, "append")
    content = _stream(BlobWriter.content)
    commit = _call(BlobWriter.commit)
    discard = _call(BlobWriter.discard)

    def _append_now(self, chunk: memoryview) -> None:
        if self.inner.append_now is None:
            raise RuntimeError("the writer does not support appending from threads")
        began = self.clock()
        failure: type[BaseException] | None = None
        try:
            self.inner.append_now(chunk)
        except BaseException as error:
            failure = type(error)
            raise
        finally:
            self.report("append", chunk, self.clock() - began, failure)

    @override
    async def make_room(self, wanted: int = sys.maxsize) -> int:
        return await self.inner.make_room(wanted)

    @property
    @override
    def size(self) -> int:
        return self.inner.size

    @property
    @override
    def stamp(self) -> str | None:
        return self.inner.stamp

    def report(self, operation: str, _subject: object, seconds: float, error: type[BaseException] | None) -> None:
        """Report one operation that has ended, with the staged key."""
        self._storage.report(operation, self._key, seconds, error)


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

    def __init__(self, inner: StagingStorage, *, observe: Observer, clock: Callable[[], float]) -> None:
        self.name = inner.name
        self.creates_exclusively = inner.creates_exclusively
        self.tells_md5 = inner.tells_md5
        self.inner = inner
        self.clock = clock
        self._observe = observe

    @property
    @override
    def answers_at_once(self) -> bool:
        return self.inner.answers_at_once

    @override
    async def start(self) -> None:
        await self.inner.start()

    @override
    async def stop(self) -> None:
        await self.inner.stop()

    read = _call(StagingStorage.read)
    write = _call(StagingStorage.write)
    write_all = _call(StagingStorage.write_all)
    write_then_remove = _call(StagingStorage.write_then_remove)
    open_reader = _block(StagingStorage.open_reader)
    open_writer = _block(StagingStorage.open_writer, _InstrumentedWriter)
    staged_size = _call(StagingStorage.staged_size)
    stat = _call(StagingStorage.stat)
    list_child_pages = _stream(StagingStorage.list_child_pages, "list_children")
    list_marked = _stream(StagingStorage.list_marked)
    walk = _stream(StagingStorage.walk)
    walk_within = _stream(StagingStorage.walk_within)
    move = _call(StagingStorage.move)
    delete = _call(StagingStorage.delete)
    delete_tree = _call(StagingStorage.delete_tree)
    clear = _call(StagingStorage.clear)
    prune = _call(StagingStorage.prune)
    drop_unfinished = _call(StagingStorage.drop_unfinished)
    redirect_url = _call(StagingStorage.redirect_url)
    check_space = _call(StagingStorage.check_space)
    space = _call(StagingStorage.space)
    check = _call(StagingStorage.check)
    _create = _call(StagingStorage.create)

    @override
    async def create(self, key: str, content: bytes) -> bool:
        is_created = await self._create(key, content)
        # The first conditional write may reveal that the store does not support them.
        self.creates_exclusively = self.inner.creates_exclusively
        return is_created

    def report(self, operation: str, subject: object, seconds: float, error: type[BaseException] | None) -> None:
        """Report one operation that has ended; `subject` is its key, or holds it first."""
        self._observe(operation, seconds, error)
        if _logger.isEnabledFor(logging.DEBUG):
            _logger.debug("%s %s took %.6f s", operation, _key_in(subject), seconds)


def _key_in(subject: object) -> str:
    """Return the first key among the arguments of an operation, `/` if there is none."""
    while subject and isinstance(subject, Sequence) and not isinstance(subject, str):
        subject = subject[0]
    return subject if isinstance(subject, str) else "/"
