"""Request bodies: bytes in memory that are sent without being copied and can be sent again."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from typing_extensions import override

Buffer = bytes | bytearray

_SLICE_BYTES: Final = 256 * 1024
_HASH_INLINE_BYTES_MAX: Final = 64 * 1024
"""Below this, handing the work to a thread costs more than hashing on the spot."""


class Body:
    """The bytes of some buffers, one after the other, which nobody changes while the body is in use.

    botocore asks a body for its length and for `read`, and calls it blocking; what is sent are the slices.
    """

    def __init__(self, *buffers: Buffer) -> None:
        self.buffers: Sequence[Buffer] = buffers

    def __len__(self) -> int:
        return sum(map(len, self.buffers))

    def slices(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces small enough for the event loop to send in one go."""
        for buffer in self.buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), _SLICE_BYTES):
                yield view[start : start + _SLICE_BYTES]

    def read(self, *_: Any) -> bytes:
        """Be a file for botocore, which looks for this method and never calls it (payloads are not hashed)."""
        return b"".join(self.buffers)

    async def md5(self) -> bytes:
        """Return the MD5 of all bytes, hashed off the event loop where there are many."""
        if len(self) <= _HASH_INLINE_BYTES_MAX:
            return self._md5()
        return await asyncio.to_thread(self._md5)

    def _md5(self) -> bytes:
        # The store's own checksum: it guards against damage on the way, not against anybody.
        digest = hashlib.md5(usedforsecurity=False)
        for buffer in self.buffers:
            digest.update(buffer)
        return digest.digest()


class BodyPayload(Payload):
    """Sends a `Body`. aiohttp's own payloads warn at a MiB of bytes, and read files in a thread, 64 KiB each."""

    _autoclose = True

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self._size = len(body)

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value.buffers).decode(encoding, errors)

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        for piece in self._value.slices():
            await writer.write(piece)
