"""The read-only switch: whether the registry accepts changes, why, and until when."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from core.coordination.read_only import REASON_LENGTH_MAX, ReadOnly, switch_off, switch_on
from core.errors import InvalidInputError, NameUnknownError
from core.model.access import ADMINISTRATION
from core.ports.audit_log import AuditAction
from entrypoints.http.handlers.read_only import parse_reason, parse_seconds
from entrypoints.http.keys import AUDIT_ACTION, AUDIT_REASON, TARGET
from entrypoints.http.routes import Resource, Target
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit


class ReadOnlyViews:
    """Shows the switch and turns it on and off, also while the registry is read-only."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._switch = parts.operations.read_only

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.READ_ONLY, "GET"): self.show, (Page.READ_ONLY, "POST"): self.change}

    async def show(self, visit: Visit) -> Answer:
        """Show the switch, for operators. One storage request, or four after a change."""
        visit.require(ADMINISTRATION)
        if visit.location.reference:
            raise NameUnknownError("no such page")
        return await self._show(visit)

    async def change(self, visit: Visit) -> Answer:
        """Turn the switch on or off."""
        is_on = visit.field("action") != "off"
        visit.request[AUDIT_ACTION] = AuditAction.READONLY_ON if is_on else AuditAction.READONLY_OFF
        visit.request[TARGET] = Target(Resource.READ_ONLY)
        visit.require(ADMINISTRATION)
        storage = self._parts.operations.storage
        if not is_on:
            await self._parts.auditor.ask(visit.request)
            await switch_off(storage)
            return Moved(location=Location(Page.READ_ONLY))
        try:
            reason, seconds = parse_reason(visit.field("reason")), parse_seconds(visit.field("duration") or None)
        except InvalidInputError:
            return await self._show(visit, is_invalid=True)
        visit.request[AUDIT_REASON] = reason
        await self._parts.auditor.ask(visit.request)
        await switch_on(storage, ReadOnly(reason=reason, by=visit.user, seconds=seconds, id=uuid.uuid4().hex))
        return Moved(location=Location(Page.READ_ONLY))

    async def _show(self, visit: Visit, *, is_invalid: bool = False) -> Shown:
        await self._switch.look()
        left = self._switch.seconds_left
        values = {
            "mode": self._switch.mode,
            "ends_at": None if left is None else self._parts.now() + timedelta(seconds=left),
            "configured": self._parts.flags.configured_reason,
            "is_invalid": is_invalid,
            "reason": visit.field("reason"),
            "reason_max": REASON_LENGTH_MAX,
        }
        return Shown(template="read-only.html", values=values, status=400 if is_invalid else 200)
