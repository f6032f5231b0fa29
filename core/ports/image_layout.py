"""The port for an OCI image layout: a folder or an archive with files of fixed names (OCI image-spec 1.1).

What the files mean is `core.transfer.layout_index`'s; an adapter keeps bytes under paths and nothing else. A *path* is
`oci-layout`, `index.json`, or `blobs/<alg>/<hex>`; no other one is ever asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from core.ports.blob_storage import BlobReader


class ImageLayout(ABC):
    """A layout that is read; used by one task at a time, opened as a context manager.

    Where it comes from is not trusted: neither a path that leads out of it, nor a link, nor a device is followed, and
    sizes are those of bytes that are really there. Opening raises `ImageLayoutError` for what is no layout at all.
    """

    async def __aenter__(self) -> Self:
        """Open it."""
        return self

    async def __aexit__(  # noqa: B027 - optional: some have nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it again."""

    @abstractmethod
    async def read(self, path: str, *, limit: int) -> bytes:
        """Return a small file whole.

        Raises:
            ObjectNotFoundError: there is none.
            ObjectTooLargeError: it has more than `limit` bytes.
            ImageLayoutError: it cannot be read, or is none of this layout.
        """

    @abstractmethod
    def open(self, path: str) -> AbstractAsyncContextManager[BlobReader]:
        """Open a file for streaming; fails on entering the block.

        Raises:
            ObjectNotFoundError: there is none.
            ImageLayoutError: it cannot be read, or is none of this layout.
        """


class ImageLayoutWriter(ImageLayout):
    """A layout that is written; what was there before can be read, what this writer added need not be.

    Leaving the block without `finish` leaves an archive as if nothing had been written, and a folder with the index
    that it had.
    """

    @abstractmethod
    async def add(self, path: str, size: int, pieces: AsyncIterable[bytes]) -> None:
        """Write a file of exactly `size` bytes, replacing what was there; each path once.

        If `pieces` raises, no file of this path is new, and the writer may not be used any more.

        Raises:
            ImageLayoutError: the disk failed or is full, or there were more or fewer bytes.
        """

    @abstractmethod
    async def finish(self) -> None:
        """Make all that was added durable; an archive appears under its name only now."""
