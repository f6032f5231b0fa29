"""Hashing of content while it is read or written, in threads if the pieces are large."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from core.content_source import Beside, Offload
from core.model.digest import Digest, Hasher
from core.ports.blob_storage import BlobReader
from core.ports.staging import BlobWriter
from core.typing import override

_INLINE_BYTES_MAX: Final = 64 * 1024
"""Below this size, passing the work to a thread costs more than hashing inline."""
_INLINE_READ_BYTES_MAX: Final = 256 * 1024
"""The limit for served content: below it, a thread costs more CPU time than hashing inline, which takes 0.2 ms."""

_ALONE_BYTES: Final = 1024 * 1024
"""The beginning of a body that one thread hashes and writes: for a short one, waking a second thread costs too much."""
_BESIDE_BYTES_MIN: Final = 256 * 1024
"""The size from which a piece is worth passing to another thread."""


async def feed(hasher: Hasher, piece: bytes, offload: Offload) -> None:
    """Hash a piece, in a thread if it is large."""
    if len(piece) <= _INLINE_BYTES_MAX:
        hasher.update(piece)
    else:
        await offload(hasher.update, piece)


async def digest_of(pieces: AsyncIterable[bytes], hasher: Hasher, offload: Offload) -> Digest:
    """Return the digest of all pieces; `hasher` is new."""
    async for piece in pieces:
        await feed(hasher, piece, offload)
    return hasher.digest()


async def append(writer: BlobWriter, hasher: Hasher | None, piece: bytes, offload: Offload) -> None:
    """Append a piece to a staged object and hash it, if there is a hasher.

    A large piece is hashed in a thread while it is written, since both take about the same time.
    """
    if hasher is None or len(piece) <= _INLINE_BYTES_MAX:
        if hasher is not None:
            hasher.update(piece)
        await writer.write(piece)
        return
    hashing = offload(hasher.update, piece)
    try:
        await writer.write(piece)
    finally:
        await hashing


def append_now_and_hash(
    pieces: Iterable[memoryview], append_now: Callable[[memoryview], None], hasher: Hasher | None, beside: Beside
) -> None:
    """Append pieces to a staged object in this thread, and hash them, if there is a hasher.

    Hashing takes longer than the rest of the work. So after the beginning of a long body, another thread hashes a piece
    while this one writes the piece and receives the next.

    Args:
        pieces: each is valid until the next but one is requested (see `ContentSource.blocking_reads`).
        append_now: see `BlobWriter`.
        hasher: receives the pieces; None to hash nothing.
        beside: starts hashing in another thread.
    """
    taken_bytes = 0
    wait: Callable[[], object] = _nothing
    try:
        for piece in pieces:
            wait()
            wait = _nothing
            taken_bytes += len(piece)
            if hasher is None:
                append_now(piece)
            elif taken_bytes <= _ALONE_BYTES or len(piece) < _BESIDE_BYTES_MIN:
                append_now(piece)
                hasher.update(piece)
            else:
                wait = beside(hasher.update, piece)
                append_now(piece)
    finally:
        # No thread may read a buffer that the next body uses.
        wait()


def _nothing() -> None:
    """Wait for nothing."""


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
        if len(piece) > _INLINE_READ_BYTES_MAX:
            return self._run(self._hasher.update, piece)
        self._hasher.update(piece)
        return None
