"""The port for reading back the events of an audit log, for the page of operators."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from core.ports.audit_log import AuditAction, AuditEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailQuery:
    """The events that a reader asks for; an empty text selects all."""

    user: str = ""
    """The user who acted, or whose name a refused client claimed."""
    repository: str = ""
    """A repository, or a namespace with all that lies in it."""
    action: AuditAction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailPage:
    """Consecutive selected events, newest first. A page may be short, or empty, although older events follow."""

    events: Sequence[AuditEvent]
    following: str | None = None
    """The position from which the next page continues; None at the end of the log."""


class AuditTrail(ABC):
    """Reads back events; audit logs that keep them implement it. Safe for concurrent tasks, and while events arrive."""

    @abstractmethod
    async def recent(self, query: TrailQuery, *, n: int, before: str = "") -> TrailPage:
        """Return at most `n` events, newest first. Bounded work, whatever the size and the content of the log.

        Lines that are damaged or not of this log are skipped. A rotation between two pages loses no event, as long as
        the older events are still beside the log.

        Args:
            query: selects events.
            n: maximum number of events.
            before: the position of a previous page; empty for the newest events. Any other text gives an empty page.

        Raises:
            AuditUnavailableError: the log cannot be read.
        """
