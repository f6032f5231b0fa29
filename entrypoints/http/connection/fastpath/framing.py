"""Checks for requests that aiohttp's parser accepts and this server refuses, and size limits for request heads.

aiohttp limits the size of each header field and the number of fields. The product of both is 2 MiB, which any client
could make the server hold per connection before authentication.
"""

from collections.abc import Collection
from typing import Any, Final

from aiohttp import HttpVersion10, HttpVersion11, hdrs
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage

END_OF_HEAD: Final = b"\r\n\r\n"
HEAD_BYTES_MAX: Final = 64 * 1024
"""Maximum size of the request line and all fields of one request."""
UNFINISHED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Maximum size of heads that are unfinished or wait behind another request, over all connections of a process."""
_SEPARATOR_BYTES: Final = 4
"""A colon, a space and the end of the line."""


class Refusal(BadHttpMessage):
    """A request that is not passed on to the application; the connection closes after the response.

    Args:
        status: status of the response.
        text: message for the client; must not quote the request.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def head_too_large() -> Refusal:
    """Return the refusal of a head above `HEAD_BYTES_MAX`."""
    return Refusal(431, "header fields too large in total")


def examine(message: RawRequestMessage, *, measure: bool) -> Refusal | None:
    """Return the reason to refuse a request, or None.

    Args:
        message: a parsed head.
        measure: whether to check the size of the head; False if it cannot exceed `HEAD_BYTES_MAX`.
    """
    if message.version != HttpVersion11 and (refusal := _examine_version(message)) is not None:
        return refusal
    if message.method == hdrs.METH_CONNECT:
        # The bytes that follow belong to a tunnel that does not exist.
        return Refusal(405, "CONNECT is not supported")
    if measure and head_bytes(message) > HEAD_BYTES_MAX:
        return head_too_large()
    return None


def _examine_version(message: RawRequestMessage) -> Refusal | None:
    if message.version == HttpVersion10:
        # RFC 9112, 6.1: the framing of such a message is faulty.
        return Refusal(400, "malformed request") if hdrs.TRANSFER_ENCODING in message.headers else None
    if message.version < HttpVersion10:
        # llhttp parses a line without a version as HTTP/0.9, whose responses have no status line.
        return Refusal(400, "malformed request")
    return Refusal(505, "HTTP version not supported")


def head_bytes(message: RawRequestMessage) -> int:
    """Return the approximate size of a head on the wire."""
    fields = sum(len(name) + len(value) + _SEPARATOR_BYTES for name, value in message.raw_headers)
    return len(message.method) + len(message.path) + fields


def queue_bytes(waiting: Collection[tuple[object, Any]]) -> int:
    """Return the size of all heads that wait behind the current request; a single message is the current request."""
    if len(waiting) <= 1:
        return 0
    return sum(head_bytes(message) for message, _ in waiting if isinstance(message, RawRequestMessage))


def part_of_head_bytes(data: bytes, body_bytes: int | None, *, has_head: bool) -> int:
    """Return how many bytes at the end of `data` belong to an unfinished head.

    The result is too small if a body contains the byte sequence that ends a head.

    Args:
        data: data received on a connection, in which the newest body ends.
        body_bytes: number of bytes in `data` that belong to that body; None for a chunked body.
        has_head: whether the head of that body ends in `data`.
    """
    # A chunked body ends with the same bytes as a head.
    end = len(data) - (body_bytes or 0)
    start = data.rfind(END_OF_HEAD, 0, end) + len(END_OF_HEAD) if has_head or body_bytes is None else 0
    return max(0, end - start)
