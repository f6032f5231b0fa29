"""Image layout in a tar archive: skopeo's `oci-archive:`, and the output of `docker save` since Docker 25."""

import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from typing_extensions import override

from adapters.image_layout.files import FileSection, in_thread, open_in_thread, require_regular, write_all
from adapters.image_layout.tar_headers import BLOCK, TarEntry, read_entries, render_header
from core.errors import ImageLayoutError, ObjectNotFoundError
from core.ports.blob_storage import BlobReader
from core.ports.image_layout import ImageLayout, ImageLayoutWriter

_NOT_OPEN: Final = -1


class ArchiveImageLayout(ImageLayout):
    """A layout in the archive `path`, read in place: nothing is unpacked.

    Opening reads the headers, about one read for each file of the layout. If several files have the same name, the last
    one counts, as in tar.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _NOT_OPEN
        self._entries: dict[str, TarEntry] = {}

    @override
    async def start(self) -> None:
        try:
            self._descriptor = await open_in_thread(str(self._path), os.open, self._path, os.O_RDONLY | os.O_CLOEXEC)
            await in_thread(str(self._path), self._index)
        except BaseException:
            self._close()
            raise

    @override
    async def stop(self) -> None:
        self._close()

    @override
    async def read(self, path: str, *, limit: int) -> bytes:
        return await self._section(path).whole(limit)

    @asynccontextmanager
    @override
    async def open(self, path: str) -> AsyncIterator[BlobReader]:
        yield self._section(path)

    def _index(self) -> None:
        size = require_regular(self._descriptor, str(self._path))
        with open(self._descriptor, "rb", closefd=False) as file:
            self._entries = {entry.path: entry for entry in read_entries(file, size)}

    def _section(self, path: str) -> FileSection:
        entry = self._entries.get(path)
        if entry is None:
            raise ObjectNotFoundError(path)
        return FileSection(self._descriptor, path, start=entry.start, size=entry.size)

    def _close(self) -> None:
        if self._descriptor != _NOT_OPEN:
            os.close(self._descriptor)
            self._descriptor = _NOT_OPEN


class ArchiveImageLayoutWriter(ImageLayoutWriter):
    """Writes the archive `path`, streamed; the same content produces the same bytes.

    The archive is written next to its final path and renamed when complete, so an existing archive stays until then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._descriptor = _NOT_OPEN

    @override
    async def start(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = await open_in_thread(str(self._path), os.open, self._partial, flags, 0o666)

    @override
    async def stop(self) -> None:
        os.close(self._descriptor)
        with contextlib.suppress(FileNotFoundError):
            self._partial.unlink()

    @override
    async def read(self, path: str, *, limit: int) -> bytes:
        raise ObjectNotFoundError(path)

    @override
    def open(self, path: str) -> AbstractAsyncContextManager[BlobReader]:
        return _nothing(path)

    @override
    async def add(self, path: str, size: int, pieces: AsyncIterable[bytes]) -> None:
        await self._write(render_header(path, size))
        written = 0
        async for piece in pieces:
            written += len(piece)
            await self._write(piece)
        if written != size:
            raise ImageLayoutError(f"{path}: received {written} bytes instead of {size}")
        await self._write(bytes(-size % BLOCK))

    @override
    async def finish(self) -> None:
        await self._write(bytes(2 * BLOCK))
        await in_thread(str(self._path), os.fsync, self._descriptor)
        await in_thread(str(self._path), self._appear)

    def _appear(self) -> None:
        self._partial.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def _write(self, data: bytes) -> None:
        await in_thread(str(self._path), write_all, self._descriptor, data)


@asynccontextmanager
async def _nothing(path: str) -> AsyncIterator[BlobReader]:
    raise ObjectNotFoundError(path)
    yield
