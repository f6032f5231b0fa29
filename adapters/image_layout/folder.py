"""Image layout in a folder, in the format of skopeo, crane, oras and umoci."""

import contextlib
import errno
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from typing_extensions import override

from adapters.image_layout.files import FileSection, in_thread, open_in_thread, require_regular, write_all
from core.errors import ImageLayoutError
from core.ports.blob_storage import BlobReader
from core.ports.image_layout import ImageLayoutWriter

_NOT_OPEN: Final = -1
# Opening a FIFO must not block, and symbolic links must not be followed.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTIAL_SUFFIX: Final = ".partial"


class FolderImageLayout(ImageLayoutWriter):
    """A layout in the folder `root`, which may be a symbolic link; links below it are rejected.

    Each file appears under its name when it is complete.

    Args:
        root: the folder.
        creates: whether to create a missing folder.
    """

    def __init__(self, root: Path, *, creates: bool = False) -> None:
        self._root = root
        self._creates = creates
        self._descriptor = _NOT_OPEN

    @override
    async def start(self) -> None:
        self._descriptor = await open_in_thread(str(self._root), self._open_root)

    @override
    async def stop(self) -> None:
        os.close(self._descriptor)

    @override
    async def read(self, path: str, *, limit: int) -> bytes:
        async with self._section(path) as section:
            return await section.whole(limit)

    @asynccontextmanager
    @override
    async def open(self, path: str) -> AsyncIterator[BlobReader]:
        async with self._section(path) as section:
            yield section

    @override
    async def add(self, path: str, size: int, pieces: AsyncIterable[bytes]) -> None:
        folder = await in_thread(path, lambda: self._open_parent(path, creates=True))
        name = path.rpartition("/")[2]
        partial = f".{name}{_PARTIAL_SUFFIX}"
        try:
            await self._write(folder, partial, size, pieces)
            await in_thread(path, lambda: os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder))
            await in_thread(path, os.fsync, folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=folder)
            raise
        finally:
            os.close(folder)

    @override
    async def finish(self) -> None:
        await in_thread(str(self._root), os.fsync, self._descriptor)

    async def _write(self, folder: int, name: str, size: int, pieces: AsyncIterable[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = await in_thread(name, lambda: os.open(name, flags, 0o666, dir_fd=folder))
        try:
            written = 0
            async for piece in pieces:
                await in_thread(name, write_all, descriptor, piece)
                written += len(piece)
            if written != size:
                raise ImageLayoutError(f"{name}: received {written} bytes instead of {size}")
            await in_thread(name, os.fsync, descriptor)
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def _section(self, path: str) -> AsyncIterator[FileSection]:
        descriptor = await in_thread(path, self._open_file, path)
        try:
            yield FileSection(descriptor, path, start=0, size=require_regular(descriptor, path))
        finally:
            os.close(descriptor)

    def _open_root(self) -> int:
        if self._creates:
            self._root.mkdir(parents=True, exist_ok=True)
        return os.open(self._root, _FOLDER & ~os.O_NOFOLLOW)

    def _open_file(self, path: str) -> int:
        folder = self._open_parent(path)
        try:
            return os.open(path.rpartition("/")[2], _READ, dir_fd=folder)
        except OSError as error:
            raise _explain(error, path) from error
        finally:
            os.close(folder)

    def _open_parent(self, path: str, *, creates: bool = False) -> int:
        """Open the folder of a path component by component, so that no link is followed."""
        folder = os.dup(self._descriptor)
        for component in path.split("/")[:-1]:
            parent = folder
            try:
                if creates:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(component, dir_fd=parent)
                folder = os.open(component, _FOLDER, dir_fd=parent)
            except OSError as error:
                raise _explain(error, path) from error
            finally:
                os.close(parent)
        return folder


def _explain(error: OSError, path: str) -> OSError | ImageLayoutError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return ImageLayoutError(f"{path}: path contains a link or a file; links are not followed")
    return error
