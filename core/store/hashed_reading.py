"""Hashing of content while it is read, so that damaged content is never delivered completely."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from core.content_source import Offload
from core.model.digest import Digest, Hasher
from core.ports.blob_storage import BlobReader
from core.typing import override

_HASH_INLINE_BYTES_MAX: Final = 256 * 1024
"""Below this size, passing the work to a thread costs more CPU time than hashing inline, which takes 0.2 ms."""


class HashedReader(BlobReader):
    """Reader of a whole object that hashes each chunk and withholds the last one until the digest is known.

    Each chunk is hashed in a thread while the caller sends the previous one. Memory holds one chunk more than with
    `inner`.

    Args:
        inner: yields the object from the first byte to the last.
        hasher: a new hasher.
        offload: runs hashing off the event loop.
        finish: called with the digest before the last chunk is yielded; an exception that it raises ends the iteration.
        keeps_file: whether callers may copy from the file of `inner`, without hashing.
    """

    def __init__(
        self,
        inner: BlobReader,
        hasher: Hasher,
        *,
        offload: Offload,
        finish: Callable[[Digest], Awaitable[None]],
        keeps_file: bool,
    ) -> None:
        self.size = inner.size
        self.length = inner.length
        self.offset = inner.offset
        if keeps_file:
            self.file = inner.file
            self.offload = inner.offload
        self._inner = inner
        self._hasher = hasher
        self._run = offload
        self._finish = finish

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content as `inner` does.

        Raises:
            the errors of `inner` and `finish`.
        """
        held = b""
        async for piece in self._inner:
            hashing = self._hash(piece)
            try:
                if held:
                    yield held
            finally:
                # Even if the caller stops here, no thread may use the hasher afterwards.
                if hashing is not None:
                    await hashing
            held = piece
        await self._finish(self._hasher.digest())
        if held:
            yield held

    def _hash(self, piece: bytes) -> Awaitable[None] | None:
        if len(piece) > _HASH_INLINE_BYTES_MAX:
            return self._run(self._hasher.update, piece)
        self._hasher.update(piece)
        return None
