"""Non-blocking writers to standard output and standard error."""

import os
import socket
import stat
from functools import cached_property
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class UnblockedStream:
    """An inherited descriptor; a writer never waits for the reader of a pipe, terminal or socket.

    Regular files are written normally. Opened on first use, which raises `OSError` if the descriptor is closed.

    Args:
        descriptor: 1 or 2; stays open, and keeps its mode for the processes that share it.
    """

    def __init__(self, descriptor: int) -> None:
        self._inherited = descriptor

    def fileno(self) -> int:
        """Return a descriptor that can be polled."""
        return self._own

    def write(self, content: bytes) -> int:
        """Write a prefix of `content`, usually all of it, and return its length.

        Content of at most `select.PIPE_BUF` bytes is written to a pipe completely or not at all.

        Raises:
            BlockingIOError: there is no room.
            OSError: the write failed, for example because the reader is gone or the disk is full.
        """
        if self._socket is not None:
            return self._socket.send(content, socket.MSG_DONTWAIT)
        return os.write(self._own, content)

    def close(self) -> None:
        """Close the descriptors that this object opened."""
        if (sock := vars(self).pop("_socket", None)) is not None:
            sock.close()
        if (own := vars(self).pop("_own", None)) is not None:
            os.close(own)

    @cached_property
    def _own(self) -> int:
        mode = os.fstat(self._inherited).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                # A separate open file description: O_NONBLOCK on the inherited one would affect every process that
                # shares it.
                return os.open(f"/proc/self/fd/{self._inherited}", _FLAGS)
            except OSError:
                # The pipe or terminal belongs to another user, so this process cannot open it again.
                os.set_blocking(self._inherited, False)
        return os.dup(self._inherited)

    @cached_property
    def _socket(self) -> socket.socket | None:
        if not stat.S_ISSOCK(os.fstat(self._own).st_mode):
            return None
        return socket.socket(fileno=os.dup(self._own))
