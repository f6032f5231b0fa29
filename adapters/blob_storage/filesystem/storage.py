"""`FilesystemBlobStorage`: blob storage in a folder.

This module decides which calls run in a thread, and how errors are translated.
"""

import os
import stat as modes
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from itertools import islice
from typing import Final, ParamSpec, TypeVar

from typing_extensions import override

from adapters.blob_storage.filesystem.committed_size import read_size
from adapters.blob_storage.filesystem.diagnosis import diagnose_folder
from adapters.blob_storage.filesystem.errors import translate
from adapters.blob_storage.filesystem.listing import Listings
from adapters.blob_storage.filesystem.page_cache import INLINE_BYTES_MAX, PageCache
from adapters.blob_storage.filesystem.reader import FileReader, OpenFile
from adapters.blob_storage.filesystem.reserve import Reserve, is_full
from adapters.blob_storage.filesystem.root import open_root, require_root
from adapters.blob_storage.filesystem.threads import BlockingCalls
from adapters.blob_storage.filesystem.tree import PRIVATE, RESERVE, Tree
from adapters.blob_storage.filesystem.writer import FileWriter, read_boot_id
from adapters.blob_storage.keys import require_key, require_prefix
from core.diagnosis import Diagnosable, Diagnosis
from core.errors import ObjectNotFoundError, ObjectTooLargeError, RangeInvalidError, StorageFullError
from core.ports.blob_storage import SMALL_OBJECT_BYTES_MAX, DiskSpace, ObjectStat, SmallObjects
from core.ports.staging import StagingStorage

P = ParamSpec("P")
T = TypeVar("T")

_PAGE_BYTES: Final = 4096
"""The kernel caches files in pages of at least this size."""

_FIRST_BATCH: Final = 128
"""Number of listed items that the first hop to a thread fetches: more than a default page of 100."""

_LAST_BATCH: Final = 2048
"""Maximum number of items that a later hop fetches; each hop fetches eight times as many as the one before."""


class FilesystemBlobStorage(StagingStorage, Diagnosable):
    """Stores each object as a file below a root folder, with the key as its path; works only inside its context.

    Several processes may use one folder at once, including distribution. Data that is probably in the page cache
    (links, manifests, file states) is read on the event loop; all other calls run in a bounded number of threads.

    Args:
        root_directory: may be a symbolic link.
        threads_max: maximum number of calls that wait for the disk at once.
        boot_id: a text that differs after each start of the machine; None for the kernel's own.
        makes_root: whether to create a missing root and to require that it is writable; otherwise the root must exist.
        reserved_for: prefixes below which writes may use a reserve when the disk is full; empty for no reserve.
    """

    name = "filesystem"
    tells_md5 = False

    def __init__(
        self,
        root_directory: str,
        *,
        threads_max: int = 32,
        boot_id: str | None = None,
        makes_root: bool = True,
        reserved_for: Sequence[str] = (),
    ) -> None:
        self._root = os.path.abspath(root_directory)
        self._tree = Tree(self._root)
        self._listings = Listings(self._root)
        self._page_cache = PageCache()
        self._calls = BlockingCalls(threads_max)
        self._boot_id = boot_id or read_boot_id()
        self._makes_root = makes_root
        self._reserved_for = tuple(reserved_for)
        tree = self._tree
        self._freeing: frozenset[Callable[..., object]] = frozenset(
            {tree.unlink, tree.remove_trees, tree.remove_all, tree.prune, tree.write_then_remove}
        )
        """Operations that may use the reserve for any key: some file systems need space to free more."""
        self._reserve = Reserve(self._root, f"{self._root}/{PRIVATE}/{RESERVE}")

    @property
    @override
    def answers_at_once(self) -> bool:
        return self._page_cache.is_usable

    @override
    async def start(self) -> None:
        self._calls.open()
        try:
            await self._run("/", self._prepare)
        except BaseException:
            await self._calls.aclose()
            raise

    @override
    async def stop(self) -> None:
        try:
            await self._run("/", self._tree.clean_up)
        finally:
            await self._calls.aclose()

    def _prepare(self) -> None:
        open_root(self._root, makes=self._makes_root)
        self._tree.prepare()
        if self._reserved_for:
            self._reserve.keep(makes=self._makes_root)

    @override
    async def diagnose(self) -> Sequence[Diagnosis]:
        return await self._calls.run(diagnose_folder, self._root, os.path.join(self._root, PRIVATE))

    @override
    async def read(self, key: str, *, limit: int = SMALL_OBJECT_BYTES_MAX) -> bytes:
        path = self._path(key)
        try:
            if self._page_cache.is_usable:
                content = self._read_now(path, key, limit)
                if content is not None:
                    return content
            return await self._calls.run(_read_whole, path, key, limit)
        except OSError as error:
            raise translate(error, key, is_lookup=True) from error

    @override
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        await self._run(key, self._tree.write, self._path(key), content, durable=durable)

    @override
    async def write_all(self, objects: SmallObjects) -> None:
        if objects:
            files = [(self._path(key), content) for key, content in objects]
            await self._run(objects[0][0], self._tree.write_all, files)

    @override
    async def write_then_remove(
        self, objects: SmallObjects, *, trees: Sequence[str] = (), keys: Sequence[str] = ()
    ) -> None:
        files = [(self._path(key), content) for key, content in objects]
        tree_paths, paths = [self._prefix_path(prefix) for prefix in trees], [self._path(key) for key in keys]
        for first in (*(key for key, _ in objects), *trees, *keys)[:1]:
            await self._run(first, self._tree.write_then_remove, files, tree_paths, paths)

    @override
    async def create(self, key: str, content: bytes) -> bool:
        return await self._run(key, self._tree.create, self._path(key), content)

    @override
    def open_reader(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[FileReader]:
        return OpenFile(partial(self._open_at, key, offset, length))

    @asynccontextmanager
    @override
    async def open_writer(
        self, key: str, *, resume: bool = False, is_first: bool = False, witness: str | None = None
    ) -> AsyncIterator[FileWriter]:
        await self._require_room(key)
        writer = FileWriter(
            key,
            self._path(key),
            tree=self._tree,
            calls=self._calls,
            page_cache=self._page_cache,
            path_of=self._path,
            boot_id=self._boot_id,
        )
        await writer.open(resume=resume, is_first=is_first, witness=witness)
        try:
            yield writer
        finally:
            try:
                await writer.leave()
            finally:
                writer.close()

    @override
    async def staged_size(self, key: str) -> int:
        try:
            return (await self.stat(key)).size
        except ObjectNotFoundError:
            return 0

    @override
    async def stat(self, key: str) -> ObjectStat:
        path = self._path(key)
        try:
            state = os.stat(path) if self._page_cache.is_usable else await self._calls.run(os.stat, path)
        except OSError as error:
            raise translate(error, key, is_lookup=True) from error
        return _object_stat(_require_file(state, key))

    @override
    async def list_child_pages(self, prefix: str, *, after: str = "") -> AsyncIterator[Sequence[str]]:
        yield await self._run(prefix, self._listings.names_after, self._prefix_path(prefix), after)

    @override
    def list_marked(self, prefix: str, mark: str, *, after: str = "", passing_over: str = "") -> AsyncIterator[str]:
        # Return the generator itself: wrapping it in another one would add a tenth to a page of the catalog.
        return self._batched(prefix, self._listings.marked(self._prefix_path(prefix), mark, after, passing_over))

    @override
    async def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        async for path, state in self._batched(prefix, self._listings.objects(self._prefix_path(prefix))):
            yield path[len(self._root) :], _object_stat(state)

    @override
    async def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        found = self._listings.objects_within(self._prefix_path(prefix), directory)
        async for path, state in self._batched(prefix, found):
            yield path[len(self._root) :], _object_stat(state)

    @override
    async def move(self, source: str, target: str) -> None:
        source_path, target_path = self._path(source), self._path(target)
        await self.stat(source)
        await self._run(target, self._tree.rename, source_path, target_path)

    @override
    async def delete(self, keys: Sequence[str]) -> None:
        paths = [self._path(key) for key in keys]
        if paths:
            await self._run(keys[0], self._tree.unlink, paths)

    @override
    async def delete_tree(self, *prefixes: str) -> None:
        paths = [self._prefix_path(prefix) for prefix in prefixes]
        if "/" in prefixes:
            await self._run("/", self._tree.remove_all)
        elif paths:
            await self._run(prefixes[0], self._tree.remove_trees, paths)

    @override
    async def clear(self, *prefixes: str) -> None:
        if prefixes:
            paths = [self._prefix_path(prefix) for prefix in prefixes]
            await self._run(prefixes[0], self._tree.remove_trees, paths, durable=False)

    @override
    async def prune(self, prefixes: Sequence[str], *, below: str) -> None:
        paths = [self._path(prefix) for prefix in dict.fromkeys(prefixes)]
        if paths:
            await self._run(below, self._tree.prune, paths, self._path(below))

    @override
    async def check(self) -> None:
        await self._run("/", self._check)

    def _check(self) -> None:
        require_root(self._root, writable=True)

    @override
    async def check_space(self) -> None:
        if not await self._run("/", self._reserve.has_room):
            raise StorageFullError("the disk is full")

    @override
    async def space(self) -> DiskSpace | None:
        state = await self._run("/", os.statvfs, self._root)
        return DiskSpace(total=state.f_blocks * state.f_frsize, free=state.f_bavail * state.f_frsize)

    def _path(self, key: str) -> str:
        require_key(key)
        if key.startswith(f"/{PRIVATE}/") or key == f"/{PRIVATE}":
            raise ValueError(f"key reserved for the adapter: {key[:256]!r}")
        return self._root + key

    def _prefix_path(self, prefix: str) -> str:
        require_prefix(prefix)
        return self._root if prefix == "/" else self._path(prefix)

    async def _run(self, key: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        while True:
            try:
                return await self._calls.run(function, *args, **kwargs)
            except OSError as error:
                may_release = function in self._freeing or key.startswith(self._reserved_for)
                if not (is_full(error) and may_release and await self._calls.run(self._reserve.release)):
                    raise translate(error, key) from error

    async def _require_room(self, key: str) -> None:
        """Raise `StorageFullError` if an upload would take the space that the reserve has released."""
        if not self._reserved_for:
            return
        is_whole = self._page_cache.is_usable and self._reserve.is_whole
        if not is_whole and not await self._run(key, self._reserve.fill):
            raise StorageFullError(f"the disk is full: cannot begin an upload at {key}")

    async def _batched(self, key: str, items: Generator[T, None, None]) -> AsyncIterator[T]:
        """Yield the items of a blocking generator, fetched in batches by a thread."""
        # A caller that stops early would otherwise leave folders open in the generator.
        with closing(items):
            size = _FIRST_BATCH
            while batch := await self._run(key, _take, items, size):
                for item in batch:
                    yield item
                size = min(size * 8, _LAST_BATCH)

    def _read_now(self, path: str, key: str, limit: int) -> bytes | None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if limit < _PAGE_BYTES:
                # A link fits into one page, which is cached entirely or not at all, so this needs no `fstat` for the
                # size.
                content = self._page_cache.read(descriptor, limit + 1, 0)
                if content is None or len(content) <= limit:
                    return content
            size = _require_readable(os.fstat(descriptor), key, limit)
            if size > INLINE_BYTES_MAX:
                return None
            content = self._page_cache.read(descriptor, size, 0)
            # A short read means that the rest is not cached.
            return content if content is not None and len(content) == size else None
        finally:
            os.close(descriptor)

    async def _open_at(self, key: str, offset: int, length: int | None) -> FileReader:
        file = await self._open(key)
        try:
            return self._reader_of(file, key, offset, length)
        except BaseException:
            file.close()
            raise

    def _reader_of(self, file: FileIO, key: str, offset: int, length: int | None) -> FileReader:
        state = _require_file(os.fstat(file.fileno()), key)
        size = state.st_size
        if offset > size:
            raise RangeInvalidError(size)
        rest = size - offset
        return FileReader(
            file,
            key,
            size=size,
            version=f"{state.st_ino}-{state.st_mtime_ns}",
            committed_size=read_size(file.fileno()),
            offset=offset,
            length=rest if length is None else min(length, rest),
            calls=self._calls,
            cache=self._page_cache,
        )

    async def _open(self, key: str) -> FileIO:
        path = self._path(key)
        try:
            if self._page_cache.is_usable:
                return FileIO(path)
            return await self._open_in_thread(path)
        except OSError as error:
            raise translate(error, key, is_lookup=True) from error

    async def _open_in_thread(self, path: str) -> FileIO:
        opened: list[FileIO] = []
        try:
            await self._calls.run(lambda: opened.append(FileIO(path)))
        except BaseException:
            # `run` raises a cancellation only after the thread has ended, and the thread may have opened the file.
            for file in opened:
                file.close()
            raise
        return opened[0]


def _take(items: Iterator[T], count: int) -> list[T]:
    return list(islice(items, count))


def _read_whole(path: str, key: str, limit: int) -> bytes:
    with FileIO(path) as file:
        _require_readable(os.fstat(file.fileno()), key, limit)
        return file.readall()


def _require_file(state: os.stat_result, key: str) -> os.stat_result:
    if not modes.S_ISREG(state.st_mode):
        raise ObjectNotFoundError(key)
    return state


def _require_readable(state: os.stat_result, key: str, limit: int) -> int:
    size = _require_file(state, key).st_size
    if size > limit:
        raise ObjectTooLargeError(key, size=size, limit=limit)
    return size


def _object_stat(state: os.stat_result) -> ObjectStat:
    return ObjectStat(size=state.st_size, modified_at=datetime.fromtimestamp(state.st_mtime, UTC))
