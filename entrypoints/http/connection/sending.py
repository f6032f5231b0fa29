"""Sends blobs to clients.

A small blob is sent together with its head: one `open`, one read from memory, one `send`. For a large blob, a thread
lets the kernel copy the file to the socket, copies it itself for a client on this machine, or encrypts it. The event
loop could do this without a thread switch, but `sendfile` continues while the client keeps up and also waits for the
disk, which would block all other requests: `tests.benchmarks.latency_under_pulls` has the figures. A large blob that
arrives from a store over a socket passes through a pipe (`piping`), but not over TLS.
"""

import asyncio
import os
import secrets
import select
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from core.concurrency import await_thread
from core.content_source import Offload
from core.errors import StorageUnavailableError
from core.ports.blob_storage import BlobReader
from entrypoints.http.connection.piping import open_pipe, send_through_pipe
from entrypoints.http.connection.socket_access import SocketLender, writable
from entrypoints.http.connection.tls_session import PIECE_BYTES, TlsSession, buffer_of_thread
from entrypoints.http.connection.tls_transport import is_lendable, session_of

_AT_ONCE_BYTES_MAX: Final = 256 * 1024
"""Amount that takes about as long to copy as a thread switch."""
_CALL_BYTES: Final = 8 * 1024 * 1024
"""Number of bytes after which a thread checks whether it was stopped."""
_TURN_BYTES: Final = 64 * 1024 * 1024
"""Number of bytes after which the thread is released for another pull."""
_COPIED_BYTES: Final = 112 * 1024
"""Number of bytes copied at once for clients on this machine, through a buffer of the thread.

The value was found by measurement: one connection reaches 4,760 MiB/s with it, 3,340 with 1 MiB and 3,950 with 80 KiB.
A packet on the loopback device holds 64 KiB.
"""
_PATIENCE_MS: Final = 1
"""Time that a thread waits for room; after that the event loop waits, without occupying a thread."""
_WAITS_MAX: Final = 8
"""Maximum number of such waits in one turn."""


async def send_blob(
    request: web.BaseRequest, reader: BlobReader, headers: Mapping[str, str], *, status: int = 200
) -> web.StreamResponse:
    """Send the content of the reader as the body of a response; return the response, which has been sent.

    Args:
        request: request to answer.
        reader: open blob, or a part of one.
        headers: headers of the response, without `Content-Length`.
        status: status of the response.

    Raises:
        StorageUnavailableError: the store failed; for a large blob, possibly after the head was sent.
        ConnectionError: the client disconnected.
    """
    if reader.length <= _AT_ONCE_BYTES_MAX:
        # aiohttp sends the head of a `StreamResponse` at once, by a `send` of its own, which wakes the client twice.
        whole = web.Response(body=await reader.read(), status=status, headers=headers)
        await whole.prepare(request)
        await whole.write_eof()
        return whole
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = reader.length
    await response.prepare(request)
    await _send_large(request, response, reader)
    await response.write_eof()
    return response


async def send_parts(
    request: web.BaseRequest,
    headers: Mapping[str, str],
    parts: Sequence[tuple[int, int]],
    readers: AsyncIterable[BlobReader],
) -> web.StreamResponse:
    """Send parts of a blob as one 206 with a multipart body; return the response, which has been sent.

    Args:
        request: request to answer.
        headers: headers of the 200 response; `Content-Type` becomes that of each part.
        parts: offset and length of each part.
        readers: open parts, in the same order.

    Raises:
        StorageUnavailableError: the store failed; before the head was sent, if it failed at the first part.
        ConnectionError: the client disconnected.
    """
    # Random, so that no blob can be crafted to contain the boundary.
    boundary = secrets.token_hex(16)
    response = web.StreamResponse(status=206, headers=headers)
    response.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    end = f"\r\n--{boundary}--\r\n".encode()
    unsent: Iterator[tuple[bytes, tuple[int, int]]] = iter(())
    async for reader in readers:
        # Read a small part completely before the head is sent, so that a failure at the first part can still be
        # answered.
        content = await reader.read() if reader.length <= _AT_ONCE_BYTES_MAX else b""
        if not response.prepared:
            heads = _heads_of(parts, reader.size, boundary, headers["Content-Type"])
            response.content_length = sum(map(len, heads)) + sum(length for _, length in parts) + len(end)
            await response.prepare(request)
            unsent = zip(heads, parts, strict=True)
        head, (offset, length) = next(unsent)
        if reader.length != length:
            raise StorageUnavailableError(
                f"a blob of {reader.size} bytes has fewer than {length} bytes at offset {offset}"
            )
        await response.write(head + content)
        if not content:
            await _send_large(request, response, reader)
    await response.write_eof(end)
    return response


def _heads_of(parts: Sequence[tuple[int, int]], size: int, boundary: str, content_type: str) -> list[bytes]:
    """Return the bytes that precede each part in a multipart body."""
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
        f"Content-Range: bytes {offset}-{offset + length - 1}/{size}\r\n\r\n".encode()
        for offset, length in parts
    ]
    return [heads[0].removeprefix(b"\r\n"), *heads[1:]]


async def _send_large(request: web.BaseRequest, response: web.StreamResponse, reader: BlobReader) -> None:
    """Send the content of the reader, after everything written before."""
    writer = await response.prepare(request)
    transport, protocol = request.transport, request.protocol
    if writer is None or transport is None:
        raise ConnectionResetError("the connection was closed before the response")
    is_plain = transport.get_extra_info("sslcontext") is None
    if reader.offload is not None and is_lendable(transport) and isinstance(protocol, SocketLender):
        writer.send_headers()
        async with protocol.lend_output() as descriptor:
            sender = FileSender(
                reader,
                descriptor,
                is_local=is_local(transport.get_extra_info("peername")),
                session=session_of(transport),
            )
            await _send_file(writer, sender, descriptor, reader.offload)
    elif reader.fill_pipe is not None and is_plain and isinstance(protocol, SocketLender) and (pipe := open_pipe()):
        writer.send_headers()
        with pipe:
            async with protocol.lend_output() as descriptor:
                await send_through_pipe(writer, pipe, reader.fill_pipe, reader.length, descriptor)
    else:
        async for chunk in reader:
            await response.write(chunk)
            # Reads from memory never suspend, nor do writes to a closed connection. Without this
            # pause, the event loop could not detect a closed connection.
            await asyncio.sleep(0)


async def _send_file(writer: AbstractStreamWriter, sender: "FileSender", descriptor: int, offload: Offload) -> None:
    while sender.left:
        left = sender.left
        try:
            await await_thread(offload(sender.turn), stop=sender.stop)
        finally:
            # The access log needs the count, also when the connection breaks.
            writer.output_size += left - sender.left
        if sender.is_idle:
            await writable(descriptor)


class FileSender:
    """Copies the content of a reader from its file to a socket; runs in threads, one at a time.

    Args:
        reader: a reader with a file.
        descriptor: descriptor of a non-blocking socket.
        is_local: whether the client (or the proxy) is on this machine. There is no network card to fetch the pages
            then, and passing single pages between two processors takes longer than copying: see `tests.benchmarks`,
            `256 MiB pull, 1 connection`.
        session: encrypts the content; None without TLS.
    """

    def __init__(
        self, reader: BlobReader, descriptor: int, *, is_local: bool = False, session: TlsSession | None = None
    ) -> None:
        if reader.file is None:
            raise ValueError("the content is not in a file")
        self.left = reader.length
        self.is_idle = False
        """Whether the last turn ended because the socket had no room."""
        self._descriptor = descriptor
        self._file = reader.file.fileno()
        self._offset = reader.offset
        self._send = self._copy if is_local else self._hand_over
        if session is not None:
            self._send = partial(self._encrypt, session)
        self._encrypted = 0
        """Bytes of the content that the session keeps as records, until all of these are sent."""
        self._copied = memoryview(b"")
        self._is_stopped = False

    def stop(self) -> None:
        """Make the running turn end soon."""
        self._is_stopped = True

    def turn(self) -> None:
        """Copy until everything is sent, the socket has no room for a moment, or another pull's turn has come.

        Raises:
            StorageUnavailableError: the file ends early or cannot be read.
            ConnectionError: the client disconnected.
        """
        until = max(0, self.left - _TURN_BYTES)
        waits = 0
        self.is_idle = False
        # Data copied in the last turn was in the buffer of another thread.
        self._copied = memoryview(b"")
        while self.left > until and not self._is_stopped:
            try:
                sent = self._send(self.left - until)
            except BlockingIOError:
                waits += 1
                if waits > _WAITS_MAX or not self._has_room():
                    self.is_idle = True
                    return
                continue
            except TimeoutError as error:
                raise ConnectionResetError("the client accepted no data for too long") from error
            except ConnectionError:
                raise
            except OSError as error:
                raise StorageUnavailableError(f"cannot read a blob while sending it: {error.strerror}") from error
            if not sent:
                raise StorageUnavailableError(f"a file ended {self.left} bytes early while it was sent")
            self.left -= sent

    def _hand_over(self, wanted: int) -> int:
        sent = os.sendfile(self._descriptor, self._file, self._offset, min(wanted, _CALL_BYTES))
        self._offset += sent
        return sent

    def _copy(self, wanted: int) -> int:
        if not self._copied:
            space = buffer_of_thread()[: min(wanted, _COPIED_BYTES)]
            self._copied = space[: os.preadv(self._file, [space], self._offset)]
        sent = os.write(self._descriptor, self._copied) if self._copied else 0
        self._copied = self._copied[sent:]
        self._offset += sent
        return sent

    def _encrypt(self, session: TlsSession, wanted: int) -> int:
        if not self._encrypted:
            space = buffer_of_thread()[: min(wanted, PIECE_BYTES)]
            self._encrypted = os.preadv(self._file, [space], self._offset)
            session.keep(space[: self._encrypted])
        session.send(self._descriptor)
        sent, self._encrypted = self._encrypted, 0
        self._offset += sent
        return sent

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(_PATIENCE_MS))


def is_local(peer: object) -> bool:
    """Return whether a peer's address, as given by asyncio, is local; the address of a Unix socket is a string."""
    host = peer[0] if isinstance(peer, tuple) else None
    return host is None or host == "::1" or host.removeprefix("::ffff:").startswith("127.")
