"""Request bodies: bytes in memory that are sent without a copy and can be sent again."""

import asyncio
import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from typing_extensions import override

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")

_SLICE_BYTES: Final = 256 * 1024
HASH_INLINE_BYTES_MAX: Final = 64 * 1024
"""Below this size, hashing on the event loop is cheaper than handing the work to a thread."""


class Body:
    """The concatenation of some buffers, which must not change while the body is in use.

    botocore requires a length and a `read` method; aiohttp sends the slices instead.
    """

    def __init__(self, *buffers: Buffer) -> None:
        self.buffers: Sequence[Buffer] = buffers

    def __len__(self) -> int:
        return sum(map(len, self.buffers))

    def slices(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces small enough for the event loop to send at once."""
        for buffer in self.buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), _SLICE_BYTES):
                yield view[start : start + _SLICE_BYTES]

    def read(self, *_: Any) -> bytes:
        """Return all bytes; botocore requires this method but does not call it, as payloads are not hashed."""
        return b"".join(self.buffers)

    async def md5(self) -> bytes:
        """Return the MD5 of all bytes; large bodies are hashed in a thread."""
        return await self._hashed(self._md5)

    async def crc32(self) -> str:
        """Return the CRC32 of all bytes as in S3's headers, in a fifth of the time of the MD5."""
        return await self._hashed(self._crc32)

    async def _hashed(self, compute: Callable[[], T]) -> T:
        if len(self) <= HASH_INLINE_BYTES_MAX:
            return compute()
        return await asyncio.to_thread(compute)

    def _md5(self) -> bytes:
        # The MD5 is the store's checksum: it detects transmission errors, not tampering.
        digest = hashlib.md5(usedforsecurity=False)
        for buffer in self.buffers:
            digest.update(buffer)
        return digest.digest()

    def _crc32(self) -> str:
        value = 0
        for buffer in self.buffers:
            value = zlib.crc32(buffer, value)
        return base64.b64encode(value.to_bytes(4)).decode()


class BodyPayload(Payload):
    """Sends a `Body`.

    aiohttp's own payloads warn above 1 MiB of bytes, and read files in a thread, 64 KiB at a time.
    """

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
