"""Telling the audit log what was done, whether or not it can be written."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime

from core.errors import AuditUnavailableError
from core.ports.audit_log import AuditAction, AuditEvent, AuditLog
from core.services.retention import RetentionPlan

_logger = logging.getLogger(__name__)


async def record_or_tell(log: AuditLog, event: AuditEvent) -> None:
    """Record what was done already; where that cannot be, the event goes where errors go, so that it is not lost."""
    try:
        await log.record(event)
    except AuditUnavailableError as error:
        plain = {name: str(value) for name, value in asdict(event).items() if value not in ("", (), 0, None)}
        _logger.error("%s; the event follows here", error, extra={"audit": plain})  # noqa: TRY400


class AuditTrail:
    """Tells what the registry does by its own rules, without a request.

    Args:
        log: where events go.
        now: tells the time, UTC-aware.
    """

    def __init__(self, log: AuditLog, *, now: Callable[[], datetime]) -> None:
        self._log = log
        self._now = now

    async def tell_retention(self, plan: RetentionPlan, *, by: str) -> None:
        """Tell of each tag that retention has deleted."""
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
            await record_or_tell(self._log, event)
