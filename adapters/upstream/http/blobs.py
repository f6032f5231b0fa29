"""Blobs of an upstream: a range of one, read from the network as the caller consumes it."""

import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import ClientResponse
from typing_extensions import override

from adapters.upstream.http.transport import Transport
from core.errors import RangeInvalidError, UpstreamUnavailableError
from core.ports.blob_storage import BlobReader

PARTIAL: Final = 206
RANGE_REFUSED: Final = 416
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_REFUSED_RANGE: Final = re.compile(r"bytes \*/(\d{1,18})")


def range_header(offset: int, length: int | None) -> dict[str, str]:
    """Return the headers that ask for a part; none for a whole blob."""
    if not offset and length is None:
        return {}
    last = offset + length - 1 if length else ""
    return {"Range": f"bytes={offset}-{last}"}


class HttpBlobReader(BlobReader):
    """Yields `length` bytes from `offset`, after dropping the bytes before if the upstream ignored the range.

    Raises:
        RangeInvalidError: `offset` is greater than the size.
        UpstreamUnavailableError: the response has no size, or another range.
    """

    def __init__(self, transport: Transport, response: ClientResponse, offset: int, length: int | None) -> None:
        self._transport = transport
        self._response = response
        self.offset = offset
        start, self.size = self._place(offset)
        if offset > self.size:
            raise RangeInvalidError(self.size)
        self.length = self.size - offset if length is None else min(length, self.size - offset)
        self._skipped = offset - start

    def _place(self, offset: int) -> tuple[int, int]:
        """Return the offset of the response's first byte, and the size of the blob."""
        text = self._response.headers.get("Content-Range", "")
        if self._response.status == PARTIAL and (match := _CONTENT_RANGE.fullmatch(text)):
            start, size = int(match[1]), int(match[3])
            if start == offset < size:
                return start, size
        elif self._response.status == RANGE_REFUSED and (match := _REFUSED_RANGE.fullmatch(text)):
            size = int(match[1])
            if offset >= size:
                return offset, size
        elif self._response.status not in {PARTIAL, RANGE_REFUSED} and self._response.content_length is not None:
            return 0, self._response.content_length
        raise self._failed("gives no usable size or range of a blob")

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, skipped = self.length, self._skipped
        while left:
            with self._transport.errors_of(self._response.url):
                piece = await self._response.content.readany()
            if not piece:
                raise self._failed("ended a blob early")
            if skipped:
                dropped = min(skipped, len(piece))
                skipped -= dropped
                piece = piece[dropped:]
            piece = piece[:left]
            left -= len(piece)
            if piece:
                yield piece

    def _failed(self, problem: str) -> UpstreamUnavailableError:
        return UpstreamUnavailableError(f"{self._transport.name}: {self._response.url.authority} {problem}")
