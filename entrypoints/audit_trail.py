"""Audit records of actions that are already done, kept even when the audit log is unavailable."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime

from core.errors import AuditUnavailableError
from core.ports.audit_log import AuditAction, AuditEvent, AuditLog
from core.retention.service import RetentionPlan

_logger = logging.getLogger(__name__)


async def record_or_log(log: AuditLog, event: AuditEvent) -> None:
    """Record an action that is already done; on failure, write the event to the error log, so that it is not lost."""
    try:
        await log.record(event)
    except AuditUnavailableError as error:
        plain = {name: str(value) for name, value in asdict(event).items() if value not in ("", (), 0, None)}
        _logger.error("audit event not recorded, logged here instead: %s", error, extra={"audit": plain})  # noqa: TRY400


class AuditTrail:
    """Audit records of changes that the registry makes by its own rules, without a request.

    Args:
        log: destination of the events.
        now: returns the current time, UTC-aware.
    """

    def __init__(self, log: AuditLog, *, now: Callable[[], datetime]) -> None:
        self._log = log
        self._now = now

    async def record_retention(self, plan: RetentionPlan, *, by: str) -> None:
        """Record one event for each tag that retention deleted."""
        for state in plan.removed:
            event = AuditEvent(
                at=self._now(),
                action=AuditAction.TAG_DELETE,
                allowed=True,
                actor=by,
                repository=plan.name,
                tags=(state.tag,),
                digest=state.digest,
                reason="retention",
            )
            await record_or_log(self._log, event)
