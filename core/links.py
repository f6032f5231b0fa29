"""Links: small objects that hold a digest, by which a repository points into the common store of content."""

import logging

from core.digest import Digest
from core.errors import DigestInvalidError, ObjectNotFoundError, ObjectTooLargeError
from core.ports.blob_storage import BlobStorage

_logger = logging.getLogger(__name__)

_LINK_BYTES_MAX = 1024
"""A link is 71 or 135 bytes long; something longer is no link."""


def link_object(key: str, digest: Digest) -> tuple[str, bytes]:
    """Return the link at `key` that points at `digest`, as it is stored."""
    return key, digest.encode("ascii")


class Links:
    """Reads and writes links; holds nothing, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def read(self, key: str) -> Digest | None:
        """Return what the link points at, or None where there is none. One storage request.

        A link that holds no digest (a torn write of an old registry) counts as absent, and is logged.
        """
        try:
            content = await self._storage.read(key, limit=_LINK_BYTES_MAX)
        except ObjectNotFoundError:
            return None
        except ObjectTooLargeError:
            _logger.warning("link is too long and counts as absent", extra={"key": key})
            return None
        try:
            # Nobody writes the newline, but people who repair a store by hand do.
            return Digest(content.decode("ascii").rstrip("\n"))
        except (UnicodeDecodeError, DigestInvalidError):
            _logger.warning("link holds no digest and counts as absent", extra={"key": key})
            return None

    async def stands(self, key: str, digest: Digest) -> bool:
        """Whether a link is there that is named for `digest`. One storage request, and no bytes.

        It is judged by its length: a torn one is shorter, and one with a line end is longer.
        """
        try:
            return (await self._storage.stat(key)).size >= len(digest)
        except ObjectNotFoundError:
            return False

    async def write(self, key: str, digest: Digest) -> None:
        """Point the link at `digest`, durably and atomically. Idempotent. One storage request."""
        await self._storage.write(key, digest.encode("ascii"))

    async def delete(self, key: str) -> None:
        """Remove the link. Idempotent. One storage request."""
        await self._storage.delete([key])
