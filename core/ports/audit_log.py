"""The port for the audit log: who did what, where, and what came of it, for people who have to answer for it later.

It is not the access log: it tells of changes and refusals in the domain's words, is kept apart, and can be made a
condition of changes. It never holds a secret: no token, no password, no query.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Self


class AuditAction(StrEnum):
    """What was done, or asked for."""

    LOGIN = "login"
    TOKEN_ISSUE = "token.issue"  # noqa: S105 - a word, not a token
    MANIFEST_PUSH = "manifest.push"
    MANIFEST_PULL = "manifest.pull"
    MANIFEST_DELETE = "manifest.delete"
    TAG_DELETE = "tag.delete"
    REPOSITORY_DELETE = "repository.delete"
    BLOB_PUSH = "blob.push"
    BLOB_MOUNT = "blob.mount"
    BLOB_PULL = "blob.pull"
    BLOB_DELETE = "blob.delete"
    UPLOAD_START = "upload.start"
    UPLOAD_APPEND = "upload.append"
    UPLOAD_CANCEL = "upload.cancel"
    UPLOAD_STATUS = "upload.status"
    CATALOG_LIST = "catalog.list"
    TAGS_LIST = "tags.list"
    REFERRERS_LIST = "referrers.list"
    READONLY_ON = "readonly.on"
    READONLY_OFF = "readonly.off"
    COMMAND = "command"
    """A command of the `registry` program, run by somebody on the machine."""
    OTHER = "other"


class Stage(StrEnum):
    """When an event was written."""

    ASKED = "asked"
    """Before a change: if no second line follows, nobody knows what came of it."""
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One line; texts that came from a client are as it wrote them, unchecked. Empty ones are left out."""

    at: datetime
    """UTC-aware."""
    action: AuditAction
    stage: Stage = Stage.DONE
    allowed: bool | None = None
    """Whether it was permitted; None where that was not decided yet."""
    actor: str = ""
    """Who, as far as it was proven; empty is anybody."""
    claimed: str = ""
    """The name that came with credentials which were refused."""
    repository: str = ""
    tags: tuple[str, ...] = ()
    digest: str = ""
    source: str = ""
    """The repository that a blob was mounted from."""
    client: str = ""
    """The address, as far as proxies are believed."""
    method: str = ""
    status: int = 0
    """The status that was answered, or the exit code of a command."""
    error: str = ""
    """OCI's code, or in an operator's words why."""
    request_id: str = ""
    trace_id: str = ""
    command: str = ""
    """The command line, without credentials."""
    reason: str = ""
    """What people were told about a switch."""


class AuditLog(ABC):
    """Where events go; one per process, safe for any number of tasks and beside other processes."""

    name: str
    """Where it is, for messages."""

    async def __aenter__(self) -> Self:
        """Start what the adapter needs (a thread)."""
        return self

    async def __aexit__(  # noqa: B027 - optional: some have nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it again."""

    @abstractmethod
    async def record(self, event: AuditEvent) -> None:
        """Write one line; whole and in the log when this returns, or not there at all.

        Lines of one process are in the order of the calls. What another process wrote, and what a killed one left
        unfinished, stays as it is.

        Raises:
            AuditUnavailableError: it cannot be written.
        """

    @abstractmethod
    def check(self) -> None:
        """Find out whether lines can be written; before anything is served.

        Raises:
            AuditUnavailableError: they cannot.
        """
