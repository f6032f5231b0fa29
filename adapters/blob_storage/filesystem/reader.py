"""Reader of an open file."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from io import FileIO
from typing import BinaryIO, Final

from typing_extensions import override

from adapters.blob_storage.filesystem.errors import translate
from adapters.blob_storage.filesystem.page_cache import INLINE_BYTES_MAX, PageCache
from adapters.blob_storage.filesystem.threads import BlockingCalls
from core.errors import StorageUnavailableError
from core.ports.blob_storage import BlobReader

THREAD_BYTES_MAX: Final = 1024 * 1024
"""Maximum number of bytes read per hop to a thread: the hop then takes a tenth of the time of the copy."""


async def pieces(
    descriptor: int, key: str, start: int, end: int, *, calls: BlockingCalls, page_cache: PageCache
) -> AsyncIterator[bytes]:
    """Yield the bytes of a file from `start` to `end`, from the page cache if possible, else in a thread.

    Raises:
        StorageUnavailableError: reading failed, or the file ends before `end`.
    """
    while start < end:
        piece: bytes | None = None
        try:
            if page_cache.is_usable:
                piece = page_cache.read(descriptor, min(end - start, INLINE_BYTES_MAX), start)
            if piece is None:
                piece = await calls.run(os.pread, descriptor, min(end - start, THREAD_BYTES_MAX), start)
        except OSError as error:
            raise translate(error, key) from error
        if not piece:
            raise StorageUnavailableError(f"the file ends {end - start} bytes early at {key}")
        yield piece
        start += len(piece)


class FileReader(BlobReader):
    """Reads from an open file; the caller closes the file."""

    file: BinaryIO

    def __init__(
        self,
        file: FileIO,
        key: str,
        *,
        size: int,
        version: str,
        committed_size: int | None,
        offset: int,
        length: int,
        calls: BlockingCalls,
        cache: PageCache,
    ) -> None:
        self.file = file
        self.size = size
        self.version = version
        self.committed_size = committed_size
        self.offset = offset
        self.length = length
        self.offload = calls.run
        self._key = key
        self._calls = calls
        self._page_cache = cache

    @override
    async def read(self) -> bytes | bytearray:
        # Without the iterator, a range from the page cache is one call.
        if self.length <= INLINE_BYTES_MAX and self._page_cache.is_usable:
            try:
                content = self._page_cache.fill(self.file.fileno(), self.length, self.offset)
            except OSError as error:
                raise translate(error, self._key) from error
            # A short read means that the rest is not cached, or that the file ends early.
            if content is not None and len(content) == self.length:
                return content
        return await super().read()

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        end = self.offset + self.length
        descriptor = self.file.fileno()
        return pieces(descriptor, self._key, self.offset, end, calls=self._calls, page_cache=self._page_cache)


class OpenFile(AbstractAsyncContextManager[FileReader]):
    """Opens a file on entry, and closes it on exit. A class takes less time than a generator, and every pull opens one.

    Args:
        open_reader: opens the file.
    """

    def __init__(self, open_reader: Callable[[], Awaitable[FileReader]]) -> None:
        self._open_reader = open_reader
        self._reader: FileReader | None = None

    @override
    async def __aenter__(self) -> FileReader:
        self._reader = await self._open_reader()
        return self._reader

    @override
    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.file.close()
