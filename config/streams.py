"""Standard output and standard error, written to without waiting for whatever reads them."""

import os
import socket
import stat
from functools import cached_property
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class UnblockedStream:
    """An inherited descriptor; a pipe, terminal or socket whose reader takes nothing holds up no writer.

    Files are written to as they are. Opened at the first use, which raises `OSError` if the descriptor is closed.

    Args:
        descriptor: 1 or 2; stays open, and keeps its mode for the processes that share it.
    """

    def __init__(self, descriptor: int) -> None:
        self._inherited = descriptor

    def fileno(self) -> int:
        """Return a descriptor to wait on."""
        return self._own

    def write(self, content: bytes) -> int:
        """Write a beginning of `content`, at best all of it, and return its length.

        What has at most `select.PIPE_BUF` bytes goes to a pipe whole or not at all.

        Raises:
            BlockingIOError: there is no room.
            OSError: the reader is gone, the disk is full, …
        """
        if self._socket is not None:
            return self._socket.send(content, socket.MSG_DONTWAIT)
        return os.write(self._own, content)

    def close(self) -> None:
        """Close what was opened."""
        if (sock := vars(self).pop("_socket", None)) is not None:
            sock.close()
        if (own := vars(self).pop("_own", None)) is not None:
            os.close(own)

    @cached_property
    def _own(self) -> int:
        mode = os.fstat(self._inherited).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                # A description of our own: O_NONBLOCK on the inherited one would hit every process that shares it.
                return os.open(f"/proc/self/fd/{self._inherited}", _FLAGS)
            except OSError:
                # Made by another user, who alone may open it again.
                os.set_blocking(self._inherited, False)
        return os.dup(self._inherited)

    @cached_property
    def _socket(self) -> socket.socket | None:
        if not stat.S_ISSOCK(os.fstat(self._own).st_mode):
            return None
        return socket.socket(fileno=os.dup(self._own))
