"""The port for the audit log: who did what, where, and with which result, for later accountability.

The audit log differs from the access log. It records changes and refusals in the terms of the domain, is stored
separately, and can be made a precondition of changes. It never contains a secret: no token, no password, no query.
"""

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.ports.resource import Resource


class AuditAction(StrEnum):
    """The audited action."""

    LOGIN = "login"
    SIGN_IN = "sign_in"
    """A sign-in on the web page."""
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
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
    EXTENSIONS_LIST = "extensions.list"
    TRASH_LIST = "trash.list"
    TRASH_RESTORE = "trash.restore"
    TRASH_DELETE = "trash.delete"
    RETENTION_PLAN = "retention.plan"
    NOTIFICATIONS_STATUS = "notifications.status"
    NOTIFICATIONS_REPLAY = "notifications.replay"
    USAGE_SHOW = "usage.show"
    USAGE_MEASURE = "usage.measure"
    COLLECTION_STATUS = "collection.status"
    COLLECTION_START = "collection.start"
    VERIFICATION_STATUS = "verification.status"
    VERIFICATION_START = "verification.start"
    READONLY_STATUS = "readonly.status"
    SEARCH = "search"
    PING = "ping"
    READONLY_ON = "readonly.on"
    READONLY_OFF = "readonly.off"
    COMMAND = "command"
    """A command of the `registry` program, run on the machine."""
    OTHER = "other"


class Stage(StrEnum):
    """The point at which an event was written."""

    ASKED = "asked"
    """Written before a change. If no second line follows, the result is unknown."""
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One line of the log. Texts from the client are recorded as sent, unchecked; empty fields are omitted."""

    at: datetime
    """UTC-aware."""
    action: AuditAction
    stage: Stage = Stage.DONE
    allowed: bool | None = None
    """Whether the action was permitted; None if this was not yet decided."""
    actor: str = ""
    """The authenticated user; empty for an anonymous caller."""
    key: str = ""
    """The id of the API key that the actor used."""
    login: str = ""
    """The method that let the actor in: `htpasswd`, `key`, `token`, …"""
    claimed: str = ""
    """The user name in credentials that were refused."""
    repository: str = ""
    tags: tuple[str, ...] = ()
    digest: str = ""
    source: str = ""
    """The repository from which a blob was mounted."""
    client: str = ""
    """The client's address, as reported by trusted proxies."""
    method: str = ""
    status: int = 0
    """The HTTP status of the response, or the exit code of a command."""
    error: str = ""
    """The OCI error code, or an explanation for operators."""
    request_id: str = ""
    trace_id: str = ""
    command: str = ""
    """The command line, without credentials."""
    entry: str = ""
    """The trash entry, if the action concerns one."""
    reason: str = ""
    """The reason given to users for read-only mode."""


class AuditLog(Resource):
    """Destination of audit events. One per process; safe for concurrent tasks and other processes."""

    name: str
    """The location of the log, for messages."""

    @abstractmethod
    async def record(self, event: AuditEvent) -> None:
        """Write one line. When this returns, the whole line is in the log; if it raises, the line is absent.

        Lines of one process appear in the order of the calls. Lines of other processes, and an incomplete line of a
        killed one, are left unchanged.

        Raises:
            AuditUnavailableError: the line cannot be written.
        """

    @abstractmethod
    def check(self) -> None:
        """Verify that lines can be written; called before the first request is served.

        Raises:
            AuditUnavailableError: lines cannot be written.
        """
