"""Non-blocking log handler: neither requests nor shutdown wait for the reader of the log."""

import logging
import os
import select
from collections import deque
from typing import Final

from typing_extensions import override

from config.streams import UnblockedStream

_logger = logging.getLogger(__name__)

BUFFER_BYTES: Final = 1024 * 1024
"""Maximum size of the lines that wait for a slow reader; further lines are counted and dropped."""
_CLOSE_MILLISECONDS: Final = 500
"""How long the last lines wait for room in the pipe."""


class ReplaceableHandler(logging.Handler):
    """A handler of this program, which a new setup of the logs replaces."""

    def retire(self) -> None:
        """Take no more records, without waiting for what is slow."""
        self.close()


class DroppingHandler(ReplaceableHandler):
    """Writes lines to a stream; while it is full, lines wait in memory, up to `BUFFER_BYTES`, or are dropped.

    Waiting lines are written with the next line or by `flush`, which is called regularly. When all waiting lines are
    written, a warning reports how many were dropped.

    Args:
        stream: where lines are written.
        name: description of the stream, for the warning.
    """

    def __init__(self, stream: UnblockedStream, name: str) -> None:
        super().__init__()
        self._stream = stream
        self._stream_name = name
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._process = os.getpid()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - whatever a caller passed; `handleError` would wait for stderr
            text = f"log record of {record.name} cannot be formatted: {type(error).__name__}: {error}"
        line = f"{text}\n".encode(errors="backslashreplace")
        self._forget_of_parent()
        if self._waiting_bytes + len(line) > BUFFER_BYTES:
            self._dropped += 1
        else:
            self._waiting.append(line)
            self._waiting_bytes += len(line)
        self._write_waiting()

    @override
    def flush(self) -> None:
        self.acquire()
        try:
            self._forget_of_parent()
            self._write_waiting()
        finally:
            self.release()

    @override
    def close(self) -> None:
        self.flush()
        if self._waiting:
            poll = select.poll()
            poll.register(self._stream.fileno(), select.POLLOUT)
            if poll.poll(_CLOSE_MILLISECONDS):
                self.flush()
        self._stream.close()
        super().close()

    def _forget_of_parent(self) -> None:
        """Drop the lines that a fork has copied: the parent writes them."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._waiting.clear()
            self._waiting_bytes = self._dropped = 0

    def _write_waiting(self) -> None:
        while self._waiting:
            line = self._waiting.popleft()
            self._waiting_bytes -= len(line)
            try:
                rest = line[self._stream.write(line) :]
            except BlockingIOError:
                rest = line
            except OSError:
                # The reader is gone, or the disk is full.
                self._dropped += 1
                continue
            if rest:
                self._waiting.appendleft(rest)
                self._waiting_bytes += len(rest)
                if rest is line:
                    return
            elif self._dropped and not self._waiting:
                self._log_dropped()

    def _log_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        _logger.warning("%s: lines dropped, its reader is too slow", self._stream_name, extra={"lines": dropped})
