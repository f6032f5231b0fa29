"""Blobs on their way out.

Small ones leave in one piece with their head: an `open`, a read from memory, one `send`. Large ones a thread has the
kernel hand over from the file to the socket, or copies for a client on this machine. The event loop could do that
without changing threads, but `sendfile` goes on as long as the client keeps up, and waits for the disk, and meanwhile
nobody else would be answered: `tests.benchmarks.latency_under_pulls` has the figures.
"""

import asyncio
import os
import secrets
import select
import threading
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from core.content_source import Offload
from core.errors import StorageUnavailableError
from core.ports.blob_storage import BlobReader
from entrypoints.http.lending import SocketLender, outlast, writable

_AT_ONCE_BYTES_MAX: Final = 256 * 1024
"""Copying so much takes as long as a change of threads."""
_CALL_BYTES: Final = 8 * 1024 * 1024
"""After so many bytes a thread looks whether it is still wanted."""
_TURN_BYTES: Final = 64 * 1024 * 1024
"""After so many bytes another pull may have the thread."""
_COPIED_BYTES: Final = 112 * 1024
"""What is copied at once for clients on this machine, through a buffer of the thread's own.

Found by trying: one connection takes 4,760 MiB/s with it, 3,340 with 1 MiB and 3,950 with 80 KiB. A packet on the
loopback device holds 64 KiB.
"""
_PATIENCE_MS: Final = 1
"""How long a thread waits for room; then the event loop does, at no cost."""
_WAITS_MAX: Final = 8
"""How often it does so in one turn."""


_of_thread = threading.local()
"""Holds the buffer of each thread."""


async def send_blob(request: web.BaseRequest, response: web.StreamResponse, reader: BlobReader) -> None:
    """Send what the reader holds as the body of `response`, whose `Content-Length` is set.

    Raises:
        StorageUnavailableError: the store failed; after the head was sent, if the blob is large.
        ConnectionError: the client left.
    """
    if reader.length <= _AT_ONCE_BYTES_MAX:
        content = b"".join([piece async for piece in reader])
        await response.prepare(request)
        await response.write_eof(content)
        return
    await response.prepare(request)
    await _send_large(request, response, reader)
    await response.write_eof()


async def send_parts(
    request: web.BaseRequest,
    headers: Mapping[str, str],
    parts: Sequence[tuple[int, int]],
    readers: AsyncIterable[BlobReader],
) -> web.StreamResponse:
    """Send parts of a blob as one 206 with a multipart body; return the response, which has been sent.

    Args:
        request: to answer.
        headers: of the 200; `Content-Type` becomes that of each part.
        parts: offset and length of each.
        readers: open parts, in the same order.

    Raises:
        StorageUnavailableError: the store failed; before the head was sent, if it was at the first part.
        ConnectionError: the client left.
    """
    # Random, so that no blob can be made that holds it.
    boundary = secrets.token_hex(16)
    response = web.StreamResponse(status=206, headers=headers)
    response.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    end = f"\r\n--{boundary}--\r\n".encode()
    unsent: Iterator[tuple[bytes, tuple[int, int]]] = iter(())
    async for reader in readers:
        # A small part is there whole before the head is sent, so that a failure at the first one has an answer.
        content = b"".join([piece async for piece in reader]) if reader.length <= _AT_ONCE_BYTES_MAX else b""
        if not response.prepared:
            heads = _heads_of(parts, reader.size, boundary, headers["Content-Type"])
            response.content_length = sum(map(len, heads)) + sum(length for _, length in parts) + len(end)
            await response.prepare(request)
            unsent = zip(heads, parts, strict=True)
        head, (offset, length) = next(unsent)
        if reader.length != length:
            raise StorageUnavailableError(f"a blob of {reader.size} bytes has no {length} bytes at {offset}")
        await response.write(head + content)
        if not content:
            await _send_large(request, response, reader)
    await response.write_eof(end)
    return response


def _heads_of(parts: Sequence[tuple[int, int]], size: int, boundary: str, content_type: str) -> list[bytes]:
    """Return what precedes each part in a multipart body."""
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
        f"Content-Range: bytes {offset}-{offset + length - 1}/{size}\r\n\r\n".encode()
        for offset, length in parts
    ]
    return [heads[0].removeprefix(b"\r\n"), *heads[1:]]


async def _send_large(request: web.BaseRequest, response: web.StreamResponse, reader: BlobReader) -> None:
    """Send what the reader holds, after what was written before."""
    writer = await response.prepare(request)
    transport, protocol = request.transport, request.protocol
    if writer is None or transport is None:
        raise ConnectionResetError("the connection was closed before the answer")
    is_plain = transport.get_extra_info("sslcontext") is None
    if reader.offload is not None and is_plain and isinstance(protocol, SocketLender):
        writer.send_headers()
        async with protocol.lend_output() as descriptor:
            hose = Hose(reader, descriptor, is_local=_is_local(transport.get_extra_info("peername")))
            await _send_file(writer, hose, descriptor, reader.offload)
    else:
        async for chunk in reader:
            await response.write(chunk)
            # Bytes that are in memory never wait, nor does a write to a connection that is gone: without a turn of the
            # loop nobody would be told that it is.
            await asyncio.sleep(0)


async def _send_file(writer: AbstractStreamWriter, hose: "Hose", descriptor: int, offload: Offload) -> None:
    while hose.left:
        left = hose.left
        try:
            await outlast(offload(hose.turn), stop=hose.stop)
        finally:
            # For the access log, and for what leaves when a connection breaks.
            writer.output_size += left - hose.left
        if hose.is_idle:
            await writable(descriptor)


class Hose:
    """Copies what a reader holds from its file to a socket; runs in threads, one at a time.

    Args:
        reader: one with a file.
        descriptor: a socket's that does not block.
        is_local: whether the client (or the proxy) is on this machine. Without a network card that fetches the pages
            itself, handing over page after page between two processors takes longer than copying: see
            `tests.benchmarks`, `256 MiB pull, 1 connection`.
    """

    def __init__(self, reader: BlobReader, descriptor: int, *, is_local: bool = False) -> None:
        if reader.file is None:
            raise ValueError("the content lies in no file")
        self.left = reader.length
        self.is_idle = False
        """Whether the last turn ended since there was no more room."""
        self._descriptor = descriptor
        self._file = reader.file.fileno()
        self._offset = reader.offset
        self._send = self._copy if is_local else self._hand_over
        self._copied = memoryview(b"")
        self._is_stopped = False

    def stop(self) -> None:
        """Have the turn that is running end soon."""
        self._is_stopped = True

    def turn(self) -> None:
        """Copy until all is sent, there is no more room for a moment, or it is another pull's turn.

        Raises:
            StorageUnavailableError: the file ends early, or cannot be read.
            ConnectionError: the client left.
        """
        until = max(0, self.left - _TURN_BYTES)
        waits = 0
        self.is_idle = False
        # It was in another thread's buffer.
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
                raise ConnectionResetError("the client took nothing for too long") from error
            except ConnectionError:
                raise
            except OSError as error:
                raise StorageUnavailableError(f"{error.strerror} while a blob was sent") from error
            if not sent:
                raise StorageUnavailableError(f"a file ended {self.left} bytes early while it was sent")
            self.left -= sent

    def _hand_over(self, wanted: int) -> int:
        sent = os.sendfile(self._descriptor, self._file, self._offset, min(wanted, _CALL_BYTES))
        self._offset += sent
        return sent

    def _copy(self, wanted: int) -> int:
        if not self._copied:
            space = _buffer()[:wanted]
            self._copied = space[: os.preadv(self._file, [space], self._offset)]
        sent = os.write(self._descriptor, self._copied) if self._copied else 0
        self._copied = self._copied[sent:]
        self._offset += sent
        return sent

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(_PATIENCE_MS))


def _buffer() -> memoryview:
    """Return the buffer of this thread."""
    if not hasattr(_of_thread, "buffer"):
        _of_thread.buffer = memoryview(bytearray(_COPIED_BYTES))
    buffer: memoryview = _of_thread.buffer
    return buffer


def _is_local(peer: object) -> bool:
    """Whether a peer's address, as asyncio tells it, is of this machine; that of a Unix socket is a text."""
    host = peer[0] if isinstance(peer, tuple) else None
    return host is None or host == "::1" or host.removeprefix("::ffff:").startswith("127.")
