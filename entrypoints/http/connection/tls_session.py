"""TLS of one connection, in memory: the event loop or one thread uses it, and never both at once.

asyncio's own TLS can be used by the event loop only. Encryption there delays all other requests, and costs a quarter
more processor time: data passes through two queues, in pieces that do not fit into the cache of a processor.
"""

import os
import ssl
import threading
from contextlib import suppress
from typing import Any, Final

PIECE_BYTES: Final = 256 * 1024
"""Amount that is encrypted or received at once: all copies fit into the cache of a processor."""
_RECORD_BYTES: Final = 16 * 1024
"""The most that a record holds (RFC 8446, 5.1); OpenSSL decrypts one record at a time."""

_of_thread = threading.local()
"""Holds the buffer of each thread."""


class TlsSession:
    """State of a server's side.

    Args:
        context: context of the listener, whose callback may choose another one by the name of the host.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = memoryview(b"")
        self.has_ended = False
        """Whether the client has sent its last data."""

    @property
    def has_input(self) -> bool:
        """Return whether received data was not decrypted yet, or not completely."""
        return bool(self._incoming.pending or self._object.pending())

    @property
    def has_unsent(self) -> bool:
        """Return whether a part of a record is still to be sent by `send`; nothing else may be sent before."""
        return bool(self._unsent)

    def get_info(self, name: str) -> Any:
        """Return what asyncio's TLS transports call extra information; None for other names."""
        match name:
            case "ssl_object":
                return self._object
            case "sslcontext":
                return self._object.context
            case "peercert":
                return self._object.getpeercert()
            case "cipher":
                return self._object.cipher()
            case _:
                return None

    def accept(self, data: bytes) -> None:
        """Keep received data for the handshake or for `decrypt`."""
        self._incoming.write(data)

    def shake_hands(self) -> bool:
        """Continue the handshake with the data received; return whether it is complete.

        Raises:
            ssl.SSLError: the handshake failed; `take_output` returns the alert for the client.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def decrypt(self) -> bytes:
        """Return all data that was received completely.

        Raises:
            ssl.SSLError: the client violated the protocol; `take_output` returns the alert for it.
        """
        pieces = []
        while self.has_input and not self.has_ended:
            try:
                piece = self._object.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            self.has_ended = not piece
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return data as records, after all records that were not taken before.

        Raises:
            ssl.SSLError: the session has ended.
        """
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._outgoing.read()

    def end(self) -> bytes:
        """Return the records that end the session; the client's own end is not waited for (RFC 8446, 6.1)."""
        # The client has usually not ended its side.
        with suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()

    def take_output(self) -> bytes:
        """Return records that OpenSSL itself wants to send."""
        return self._outgoing.read()

    def keep(self, data: memoryview) -> None:
        """Encrypt data for `send`."""
        self._unsent = memoryview(self.encrypt(data))

    def send(self, descriptor: int) -> None:
        """Write the kept records to a non-blocking socket.

        Raises:
            BlockingIOError: the socket has no room for all of them; call again when it has.
            OSError: the connection is gone.
        """
        while self._unsent:
            self._unsent = self._unsent[os.write(descriptor, self._unsent) :]

    def receive_into(self, descriptor: int, space: memoryview) -> int:
        """Read data from a non-blocking socket, as `os.readv` does; return 0 at the end.

        Raises:
            BlockingIOError: no complete record has arrived.
            OSError: the connection is gone, or the client violated the protocol.
        """
        while True:
            try:
                return self._object.read(len(space), space)  # type: ignore[return-value]  # an int with a buffer
            except ssl.SSLZeroReturnError:
                return 0
            except ssl.SSLWantReadError:
                received = buffer_of_thread()
                count = os.readv(descriptor, [received])
                if not count:
                    return 0
                self._incoming.write(received[:count])


def buffer_of_thread() -> memoryview:
    """Return the buffer of this thread, of `PIECE_BYTES`."""
    if not hasattr(_of_thread, "buffer"):
        _of_thread.buffer = memoryview(bytearray(PIECE_BYTES))
    buffer: memoryview = _of_thread.buffer
    return buffer
