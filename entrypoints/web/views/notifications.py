"""The notifications: how many events wait for each endpoint, and the repetition of those that were given up."""

from collections.abc import Mapping

from core.errors import NameUnknownError
from core.model.access import ADMINISTRATION
from core.ports.audit_log import AuditAction
from entrypoints.http.handlers.notifications import queue_states, replay_dead
from entrypoints.http.keys import AUDIT_ACTION, TARGET
from entrypoints.http.routes import Resource, Target
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit


class NotificationViews:
    """Shows the queues of events in numbers, and no event or address."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._operations = parts.operations

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.NOTIFICATIONS, "GET"): self.show, (Page.NOTIFICATIONS, "POST"): self.replay}

    async def show(self, visit: Visit) -> Answer:
        """Show the queues, for operators. Two storage requests per endpoint, and one more per 1,000 events."""
        visit.require(ADMINISTRATION)
        if visit.location.reference:
            raise NameUnknownError("no such page")
        replayed = visit.number("replayed", default=-1)
        values = {
            "states": await queue_states(self._operations),
            "configured": self._operations.endpoint_names(),
            "replayed": replayed if replayed >= 0 else None,
            "are_left": bool(visit.query("left")),
        }
        return Shown(template="notifications.html", values=values)

    async def replay(self, visit: Visit) -> Answer:
        """Deliver the events again that were given up, of one endpoint."""
        visit.request[AUDIT_ACTION] = AuditAction.NOTIFICATIONS_REPLAY
        visit.request[TARGET] = Target(Resource.NOTIFICATIONS)
        visit.require(ADMINISTRATION)
        await self._parts.auditor.ask(visit.request)
        replayed, is_complete = await replay_dead(self._operations, visit.field("endpoint"))
        query = {"replayed": replayed, "left": None if is_complete else "yes"}
        return Moved(location=Location(Page.NOTIFICATIONS), query=query)
