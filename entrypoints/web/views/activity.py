"""The activity page: the audit log, newest first, for operators."""

from collections.abc import Mapping
from typing import Any, Final

from core.errors import AuditUnavailableError
from core.model.access import ADMINISTRATION
from core.ports.audit_log import AuditAction
from core.ports.audit_trail import AuditTrail, TrailQuery
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.visits import Answer, Shown, View, Visit

_PAGE_SIZE: Final = 100
_TEXT_LENGTH_MAX: Final = 256


class ActivityViews:
    """Shows changes and refusals, with their authors."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.ACTIVITY, "GET"): self.show}

    async def show(self, visit: Visit) -> Answer:
        """Show a page of the audit log. No storage request; reads at most 4 MiB of the log's file."""
        visit.require(ADMINISTRATION)
        log = self._parts.audit_log
        query = _query(visit)
        values: dict[str, Any] = {
            "kind": self._parts.settings.audit.kind,
            "shows_pulls": self._parts.settings.audit.pulls,
            "log": log.name,
            "query": query,
            "actions": [action.value for action in AuditAction],
            "before": visit.query("before"),
            "page": None,
            "problem": "",
        }
        if isinstance(log, AuditTrail):
            try:
                values["page"] = await log.recent(query, n=_PAGE_SIZE, before=visit.query("before"))
            except AuditUnavailableError as error:
                values["problem"] = str(error)
        return Shown(template="activity.html", values=values)


def _query(visit: Visit) -> TrailQuery:
    action = visit.query("action")
    return TrailQuery(
        user=visit.query("user").strip()[:_TEXT_LENGTH_MAX],
        repository=visit.query("repository").strip().strip("/")[:_TEXT_LENGTH_MAX],
        action=AuditAction(action) if action in set(AuditAction) else None,
    )
