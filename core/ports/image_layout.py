"""The port for an OCI image layout: a folder or an archive with files of fixed names (OCI image-spec 1.1).

`core.transfer.layout_index` interprets the files; an adapter only stores bytes under paths. A *path* is `oci-layout`,
`index.json`, or `blobs/<alg>/<hex>`; no other path is used.
"""

from abc import abstractmethod
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager

from core.ports.blob_storage import BlobReader
from core.ports.resource import Resource


class ImageLayout(Resource):
    """A layout opened for reading, as a context manager; used by one task at a time.

    The source is not trusted. Paths that lead outside, links and devices are not followed, and sizes are those of the
    bytes actually present. Opening raises `ImageLayoutError` if the source is not a layout.
    """

    @abstractmethod
    async def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole content of a small file.

        Raises:
            ObjectNotFoundError: there is no file at `path`.
            ObjectTooLargeError: the file has more than `limit` bytes.
            ImageLayoutError: the file cannot be read, or is not a regular file of this layout.
        """

    @abstractmethod
    def open(self, path: str) -> AbstractAsyncContextManager[BlobReader]:
        """Open a file for streaming; errors are raised on entering the block.

        Raises:
            ObjectNotFoundError: there is no file at `path`.
            ImageLayoutError: the file cannot be read, or is not a regular file of this layout.
        """


class ImageLayoutWriter(ImageLayout):
    """A layout opened for writing. Existing content is readable; content added by this writer may not be.

    Leaving the block without `finish` leaves an archive unchanged, and a folder with its previous index.
    """

    @abstractmethod
    async def add(self, path: str, size: int, pieces: AsyncIterable[bytes]) -> None:
        """Write a file of exactly `size` bytes, replacing an existing one; at most once per path.

        If `pieces` raises, no file is added at this path, and the writer must not be used any more.

        Raises:
            ImageLayoutError: the disk failed or is full, or the number of bytes differs from `size`.
        """

    @abstractmethod
    async def finish(self) -> None:
        """Make all added files durable; an archive appears under its name only now."""
