"""Blobs on their way out.

Small ones leave in one piece with their head: an `open`, a read from memory, one `send`. Large ones a thread has the
kernel copy from the file to the socket. The event loop could do that without changing threads, but `sendfile` goes on
as long as the client keeps up, and waits for the disk, and meanwhile nobody else would be answered:
`tests.benchmarks.latency_under_pulls` has the figures.
"""

import asyncio
import os
import select
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
_PATIENCE_MS: Final = 1
"""How long a thread waits for room; then the event loop does, at no cost."""
_WAITS_MAX: Final = 8
"""How often it does so in one turn."""


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
    writer = await response.prepare(request)
    transport, protocol = request.transport, request.protocol
    if writer is None or transport is None:
        raise ConnectionResetError("the connection was closed before the answer")
    is_plain = transport.get_extra_info("sslcontext") is None
    if reader.offload is not None and is_plain and isinstance(protocol, SocketLender):
        writer.send_headers()
        async with protocol.lend_output() as descriptor:
            await _send_file(writer, Hose(reader, descriptor), descriptor, reader.offload)
    else:
        async for chunk in reader:
            await response.write(chunk)
            # Bytes that are in memory never wait, nor does a write to a connection that is gone: without a turn of the
            # loop nobody would be told that it is.
            await asyncio.sleep(0)
    await response.write_eof()


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
    """

    def __init__(self, reader: BlobReader, descriptor: int) -> None:
        if reader.file is None:
            raise ValueError("the content lies in no file")
        self.left = reader.length
        self.is_idle = False
        """Whether the last turn ended since there was no more room."""
        self._descriptor = descriptor
        self._file = reader.file.fileno()
        self._offset = reader.offset
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
        while self.left > until and not self._is_stopped:
            try:
                sent = os.sendfile(self._descriptor, self._file, self._offset, min(self.left - until, _CALL_BYTES))
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
            self._offset += sent
            self.left -= sent

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(_PATIENCE_MS))
