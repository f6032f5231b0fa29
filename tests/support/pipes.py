"""Reads content through a pipe, as a server does that passes the content on to a socket."""

import os

from core.ports.blob_storage import BlobReader

PIPE_BYTES = 16 * 1024


async def read_through_pipe(reader: BlobReader, size: int | None = None) -> bytes:
    """Return the content of a reader that can fill a pipe, or at least its first `size` bytes."""
    assert reader.fill_pipe is not None
    outlet, inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        content = bytearray()
        while (size is None or len(content) < size) and (moved := await reader.fill_pipe(inlet, PIPE_BYTES)):
            assert moved <= PIPE_BYTES
            content += os.read(outlet, moved)
        return bytes(content)
    finally:
        os.close(outlet)
        os.close(inlet)
