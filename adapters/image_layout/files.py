"""Regular files, read and written in threads; errors are translated in one place."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from typing_extensions import override

from core.errors import ImageLayoutError, ObjectNotFoundError, ObjectTooLargeError
from core.ports.blob_storage import BlobReader

T = TypeVar("T")

PIECE_BYTES: Final = 1024 * 1024


async def in_thread(path: str, function: Callable[..., T], *arguments: Any) -> T:
    """Call a blocking function in a thread.

    Raises:
        ObjectNotFoundError: there is no such file.
        ImageLayoutError: the disk failed or refused the operation.
    """
    try:
        return await asyncio.to_thread(function, *arguments)
    except FileNotFoundError:
        raise ObjectNotFoundError(path) from None
    except OSError as error:
        raise ImageLayoutError(f"{path}: {os.strerror(error.errno or 0)}") from error


async def open_in_thread(path: str, function: Callable[..., T], *arguments: Any) -> T:
    """Call in a thread a function that opens the layout itself.

    Raises:
        ImageLayoutError: the layout does not exist, or the disk failed or refused the operation.
    """
    try:
        return await in_thread(path, function, *arguments)
    except ObjectNotFoundError:
        raise ImageLayoutError(f"{path}: there is no such file or folder") from None


class FileSection(BlobReader):
    """A range of bytes of an open file."""

    def __init__(self, descriptor: int, path: str, *, start: int, size: int) -> None:
        self.size = self.length = size
        self._descriptor = descriptor
        self._path = path
        self._start = start

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        position, end = self._start, self._start + self.size
        while position < end:
            wanted = min(PIECE_BYTES, end - position)
            piece = await in_thread(self._path, os.pread, self._descriptor, wanted, position)
            if not piece:
                raise ImageLayoutError(f"{self._path}: {end - position} bytes are missing at the end")
            position += len(piece)
            yield piece

    async def whole(self, limit: int) -> bytes:
        """Return all bytes.

        Raises:
            ObjectTooLargeError: the section has more than `limit` bytes; nothing was read.
        """
        if self.size > limit:
            raise ObjectTooLargeError(self._path, size=self.size, limit=limit)
        return b"".join([piece async for piece in self])


def require_regular(descriptor: int, path: str) -> int:
    """Return the size of an open file.

    Raises:
        ImageLayoutError: the file is not a regular file.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ImageLayoutError(f"{path}: is not a regular file")
    return status.st_size


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all bytes, with as many calls as necessary."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
