"""A look at the first TLS record of a connection, which stays in the socket for the handshake."""

import asyncio
import socket
from typing import Final

from entrypoints.http.connection.socket_access import readable

_HEADER_BYTES: Final = 5
_HANDSHAKE: Final = 0x16
_RECORD_BYTES_MAX: Final = 16 * 1024
"""The longest record that TLS allows (RFC 8446, 5.1)."""


async def peek_hello(connection: socket.socket, seconds: float) -> bytes:
    """Return the first record of a connection: the client's hello. Costs a system call or two more than no look.

    Other data, and a record whose client went away, is returned in part.

    Args:
        connection: non-blocking socket.
        seconds: maximum time until the record is complete.

    Raises:
        TimeoutError: the record did not arrive in time.
        OSError: the connection is broken.
    """
    async with asyncio.timeout(seconds):
        data = await _peek(connection, _HEADER_BYTES)
        if len(data) < _HEADER_BYTES or data[0] != _HANDSHAKE:
            return data
        length = int.from_bytes(data[3:])
        return await _peek(connection, _HEADER_BYTES + min(length, _RECORD_BYTES_MAX))


async def _peek(connection: socket.socket, size: int) -> bytes:
    # Without the mark, the loop would wake for each part, again and again until the rest arrives.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    try:
        await readable(connection.fileno())
        return connection.recv(size, socket.MSG_PEEK)
    finally:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
