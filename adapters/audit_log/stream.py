"""Audit logs on an open descriptor, and the disabled one."""

import asyncio
from typing import Final, Protocol

from typing_extensions import override

from adapters.audit_log.lines import format_event
from core.errors import AuditUnavailableError
from core.ports.audit_log import AuditEvent, AuditLog

TIMEOUT_SECONDS: Final = 2.0
"""How long a line waits for the reader of a full stream.

After a timeout, later lines do not wait until one succeeds.
"""


class Stream(Protocol):
    """A non-blocking descriptor."""

    def fileno(self) -> int:
        """Return a descriptor that can be polled."""

    def write(self, content: bytes) -> int:
        """Write a prefix of `content` and return its length; raise `BlockingIOError` if there is no room."""


class StreamAuditLog(AuditLog):
    """Writes to standard output.

    Lines of several processes do not interleave: the kernel writes up to 4 KiB to a pipe atomically, and only a name of
    absurd length makes a line longer.

    Args:
        stream: where lines are written; stays open.
        timeout_seconds: how long a line waits for the reader of a full stream.
    """

    name = "standard output"

    def __init__(self, stream: Stream, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._stream = stream
        self._timeout_seconds = timeout_seconds
        self._turn = asyncio.Lock()
        self._is_stuck = False
        self._is_torn = False

    @override
    async def record(self, event: AuditEvent) -> None:
        line = format_event(event)
        try:
            async with asyncio.timeout(0 if self._is_stuck else self._timeout_seconds):
                async with self._turn:
                    await self._write(line)
            self._is_stuck = False
        except TimeoutError as error:
            self._is_stuck = True
            raise self._unavailable("its reader does not read") from error
        except OSError as error:
            raise self._unavailable(error.strerror) from error

    async def _write(self, line: bytes) -> None:
        # End a line that was only partly written, so that the next line starts on its own.
        left = b"\n" + line if self._is_torn else line
        while left:
            try:
                written = self._stream.write(left)
            except BlockingIOError:
                await self._room()
                continue
            self._is_torn = written < len(left)
            left = left[written:]

    async def _room(self) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Event()
        loop.add_writer(self._stream.fileno(), room.set)
        try:
            await room.wait()
        finally:
            loop.remove_writer(self._stream.fileno())

    @override
    def check(self) -> None:
        try:
            self._stream.fileno()
        except OSError as error:
            raise self._unavailable(error.strerror) from error

    def _unavailable(self, reason: str | None) -> AuditUnavailableError:
        return AuditUnavailableError(f"the audit log on {self.name} cannot be written: {reason}")


class DisabledAuditLog(AuditLog):
    """Discards all events."""

    name = "nowhere"

    @override
    async def record(self, event: AuditEvent) -> None:
        return

    @override
    def check(self) -> None:
        return
