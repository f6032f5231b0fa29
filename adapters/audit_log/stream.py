"""Audit logs on an open descriptor, and nowhere."""

import os

from typing_extensions import override

from adapters.audit_log.lines import format_event
from core.errors import AuditUnavailableError
from core.ports.audit_log import AuditEvent, AuditLog


class StreamAuditLog(AuditLog):
    """Writes to standard output, whoever reads it there.

    Lines of several processes do not mix: the kernel writes up to 4 KiB to a pipe in one piece, and only names of
    absurd length make a line longer.

    Args:
        descriptor: open for writing; stays open.
    """

    name = "standard output"

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor

    @override
    async def record(self, event: AuditEvent) -> None:
        line = format_event(event)
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise AuditUnavailableError(f"the audit log on {self.name} cannot be written: {error.strerror}") from error

    @override
    def check(self) -> None:
        try:
            os.fstat(self._descriptor)
        except OSError as error:
            raise AuditUnavailableError(f"the audit log on {self.name} cannot be written: {error.strerror}") from error


class DisabledAuditLog(AuditLog):
    """Keeps nothing."""

    name = "nowhere"

    @override
    async def record(self, event: AuditEvent) -> None:
        return

    @override
    def check(self) -> None:
        return
