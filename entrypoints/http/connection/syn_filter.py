"""A filter for listening sockets that lets no further handshake begin.

A process cannot close a listening socket without a race: the kernel resets a connection that arrives after the last
accept(). With this filter the kernel ignores the first segment of a handshake. The client sends it again after a
second, when the socket is closed, and is refused: it then connects elsewhere, and nothing that it sent is lost.
"""

import array
import socket
import struct
from typing import Final

_SO_ATTACH_FILTER: Final = 26
"""Of Linux (socket(7)); Python does not name it."""
_FLAGS_OFFSET: Final = 13
_SYN: Final = 0x02
_SYN_OR_ACK: Final = 0x12
"""The flags that tell the first segment of a handshake from all others (RFC 9293, 3.1)."""
_LOAD_BYTE, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_WHOLE: Final = 0xFFFFFFFF
_PROGRAM: Final = b"".join(
    struct.pack("HBBI", code, then, otherwise, value)
    for code, then, otherwise, value in (
        (_LOAD_BYTE, 0, 0, _FLAGS_OFFSET),
        (_AND, 0, 0, _SYN_OR_ACK),
        (_JUMP_IF_EQUAL, 0, 1, _SYN),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, _WHOLE),
    )
)
"""struct sock_filter of linux/filter.h, for segments that begin with the header of TCP."""
_INSTRUCTION_BYTES: Final = 8


def ignore_new_handshakes(sock: socket.socket) -> None:
    """Let the kernel ignore new handshakes on a listening TCP socket, in all processes; those under way continue.

    Raises:
        OSError: the kernel has no such filters.
    """
    program = array.array("B", _PROGRAM)
    address, _ = program.buffer_info()
    count = len(_PROGRAM) // _INSTRUCTION_BYTES
    # The kernel copies the program.
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", count, address))
