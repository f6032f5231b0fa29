"""Audit records of commands: changes that a local operator makes without any access check."""

import asyncio
import logging
import os
import pwd
import shlex
from argparse import Namespace
from collections.abc import Sequence

from config.tree import hide_credentials
from core.errors import AuditUnavailableError
from core.ports.audit_log import AuditAction, AuditEvent, AuditLog, Stage
from entrypoints.commands.base import Command
from entrypoints.exit_codes import exit_code_of

_logger = logging.getLogger(__name__)


def run_audited(command: Command, arguments: Namespace, words: Sequence[str]) -> int:
    """Run a command; if it changes anything, record it in the audit log before and after.

    Args:
        command: command to run.
        arguments: its parsed arguments.
        words: the command line.

    Raises:
        AuditUnavailableError: the log cannot be written and `audit.required` is set; the command was not run.
    """
    if not command.changes(arguments):
        return command.run(arguments)
    settings = command.load(arguments).settings
    if settings.audit.kind == "disabled":
        return command.run(arguments)
    # Imported here, so that commands that change nothing start without storage SDKs.
    from config.container import build_audit_log, utc_now  # noqa: PLC0415

    def record(stage: Stage, *, status: int = 0, error: str = "", is_needed: bool = False) -> None:
        event = AuditEvent(
            at=utc_now(),
            action=AuditAction.COMMAND,
            stage=stage,
            allowed=True,
            actor=_user(),
            command=hide_credentials(shlex.join(words)),
            status=status,
            error=error,
        )
        try:
            asyncio.run(_record(build_audit_log(settings), event))
        except AuditUnavailableError as failure:
            if is_needed:
                raise
            _logger.error("%s", failure)  # noqa: TRY400 - one line is enough for an operator

    record(Stage.ASKED, is_needed=settings.audit.required)
    try:
        code = command.run(arguments)
    except BaseException as error:
        record(Stage.DONE, status=int(exit_code_of(error)), error=str(error) or type(error).__name__)
        raise
    record(Stage.DONE, status=code)
    return code


async def _record(log: AuditLog, event: AuditEvent) -> None:
    async with log:
        await log.record(event)


def _user() -> str:
    try:
        return f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()})"
    except KeyError:
        return f"uid {os.getuid()}"
