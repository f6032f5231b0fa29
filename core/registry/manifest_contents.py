"""The bytes of manifests: reading them from storage, and parsing and hashing large ones in threads."""

from asyncio import Semaphore
from collections.abc import Callable
from typing import Any, Final, TypeVar

from core.content_source import Offload
from core.errors import ContentDamagedError, ObjectNotFoundError, ObjectTooLargeError
from core.model.digest import Digest
from core.model.manifest import STORED_MANIFEST_BYTES_MAX
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.damage import DamageWatch

T = TypeVar("T")

_INLINE_BYTES_MAX: Final = 64 * 1024
"""A larger manifest is parsed and hashed in a thread: 4 MiB would block the event loop for a tenth of a second."""
_LARGE_AT_ONCE: Final = 2
"""Maximum number of large manifests parsed concurrently; each needs about ten times its size in memory."""


class ManifestContents:
    """Reads and processes the bytes of manifests; one per process."""

    def __init__(self, storage: BlobStorage, *, damage: DamageWatch, offload: Offload) -> None:
        self._storage = storage
        self._damage = damage
        self._offload = offload
        self._large = Semaphore(_LARGE_AT_ONCE)

    async def read(self, digest: Digest) -> bytes | None:
        """Return the exact bytes of a stored manifest, or None if they are missing. One storage request.

        Raises:
            ContentDamagedError: the bytes do not match the digest, also when they are read again.
        """
        key = layout.blob_data(digest)
        try:
            content = await self._storage.read(key, limit=STORED_MANIFEST_BYTES_MAX)
            if await self._hashes_to(content, digest):
                return content
            # Read again: the first read may have failed, or a push may have replaced the content in between.
            content = await self._storage.read(key, limit=STORED_MANIFEST_BYTES_MAX)
            size = len(content)
        except ObjectNotFoundError:
            return None
        except ObjectTooLargeError as error:
            content, size = b"", error.size
        if await self._hashes_to(content, digest):
            return content
        await self._damage.report(digest, size)
        raise ContentDamagedError(digest)

    async def _hashes_to(self, content: bytes, digest: Digest) -> bool:
        return await self.process(content, Digest.of, content, digest.algorithm) == digest

    async def process(self, content: bytes, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that processes `content`, in a thread if the content is large."""
        if len(content) <= _INLINE_BYTES_MAX:
            return function(*arguments)
        async with self._large:
            result: T = await self._offload(function, *arguments)
            return result
