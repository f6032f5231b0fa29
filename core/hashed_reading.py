"""Reading content while it is hashed, so that damaged content never reaches its end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from core.content_source import Offload
from core.digest import Digest, Hasher
from core.ports.blob_storage import BlobReader
from core.typing import override

_HASH_INLINE_BYTES_MAX: Final = 256 * 1024
"""Up to this, handing the work to a thread costs more processor time than hashing on the spot, which takes 0.2 ms."""


class HashedReader(BlobReader):
    """A reader of a whole object that hashes what it yields, and holds back the last piece until the hash is known.

    Each piece is hashed in a thread while the caller sends the one before. Holds one piece more than `inner`.

    Args:
        inner: yields the object from its first byte to its last.
        hasher: has taken in nothing.
        offload: runs hashing off the event loop.
        finish: called with the digest before the last piece is yielded; what it raises ends the reading.
        keeps_file: whether callers may copy from the file of `inner`, past the hasher.
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
            what `inner` and `finish` raise.
        """
        held = b""
        async for piece in self._inner:
            hashing = self._hash(piece)
            try:
                if held:
                    yield held
            finally:
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
