"""Storage use by repository, and the collection that frees space; for operators."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from core.errors import BusyError, UnsupportedError
from core.model.access import ADMINISTRATION
from core.ports.audit_log import AuditAction
from core.usage.records import StoredMeasurement, parse_position, position_of
from entrypoints.http.keys import AUDIT_ACTION, TARGET
from entrypoints.http.routes import Resource, Right, Target
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.views.state import measured_at
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit

_PAGE_SIZE: Final = 100
_PARTS: Final = ("blobs", "trash", "quarantined", "uploads", "transfers", "records")
"""The parts of a measurement that do not overlap."""


class UsageViews:
    """Shows the last measurement, and starts measurements and collections."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._operations = parts.operations

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {
            (Page.USAGE, "GET"): self.show,
            (Page.USAGE, "POST"): self.measure,
            (Page.COLLECTION, "GET"): self.show_collection,
            (Page.COLLECTION, "POST"): self.collect,
        }

    async def show(self, visit: Visit) -> Answer:
        """Show the last measurement, with a page of the repositories that have the most own bytes.

        At most 14 storage requests, mostly five.
        """
        visit.require(ADMINISTRATION)
        measured = await self._operations.usage_records.last()
        values: dict[str, Any] = {
            "running": await self._operations.usage.state(),
            "collection": await self._operations.collection.state(),
            "usage": None,
        }
        if measured is not None:
            values |= _page(measured, visit.query("last"))
        return Shown(template="usage.html", values=values)

    async def measure(self, visit: Visit) -> Answer:
        """Start a measurement, unless one runs."""
        visit.request[AUDIT_ACTION] = AuditAction.USAGE_MEASURE
        visit.request[TARGET] = Target(Resource.USAGE)
        visit.require(ADMINISTRATION)
        await self._parts.auditor.ask(visit.request)
        try:
            await self._operations.usage.start()
        except BusyError:
            # The page shows that a measurement is running, as the visitor wishes.
            return Moved(location=Location(Page.USAGE))
        return Moved(location=Location(Page.USAGE), query={"started": "yes"})

    async def show_collection(self, visit: Visit) -> Answer:
        """Show the effect of a collection, its state, and the form that starts one. At most ten storage requests."""
        visit.require(ADMINISTRATION)
        operations, storage = self._operations, self._parts.settings.storage
        measured = await operations.usage_records.last()
        state = await operations.collection.state()
        keep = timedelta(seconds=storage.trash_keep_seconds)
        values = {
            "state": state,
            "next_at": operations.collection.next_at(state),
            "usage": measured.store if measured else None,
            "measured_at": measured_at(measured),
            "effect": measured.store.get("collectable") if measured else None,
            "young_since": _young_since(measured),
            "restorable_until": self._parts.now() + keep if keep else None,
            "is_dry_run": storage.garbage_collection.dry_run,
            "refusal": await self._refusal(),
        }
        return Shown(template="collection.html", values=values)

    async def collect(self, visit: Visit) -> Answer:
        """Start a collection, unless one runs."""
        visit.request[AUDIT_ACTION] = AuditAction.COLLECTION_START
        visit.request[TARGET] = Target(Resource.COLLECTION)
        visit.require(ADMINISTRATION)
        await self._parts.flags.require(Right.UPKEEP)
        await self._parts.auditor.ask(visit.request)
        try:
            await self._operations.collection.start()
        except BusyError:
            # The page shows the collection that is running.
            return Moved(location=Location(Page.COLLECTION))
        return Moved(location=Location(Page.COLLECTION), query={"started": "yes"})

    async def _refusal(self) -> str:
        """Return why no collection may start now; empty if one may."""
        try:
            await self._parts.flags.require(Right.UPKEEP)
        except UnsupportedError as error:
            return str(error)
        return ""


def _page(measured: StoredMeasurement, last: str) -> dict[str, Any]:
    page = measured.page(_PAGE_SIZE, parse_position(last))
    largest = measured.page(1).items
    sizes = {part: measured.store[part]["bytes"] for part in _PARTS}
    return {
        "usage": measured.store,
        "measured_at": measured_at(measured),
        "sizes": sizes,
        "total": sum(sizes.values()),
        "items": page.items,
        "largest": largest[0].own if largest else 0,
        "following": position_of(page.items[-1]) if page.has_more and page.items else None,
    }


def _young_since(measured: StoredMeasurement | None) -> datetime | None:
    """Return the time after which content was too young for a collection at the measurement."""
    effect, at = (measured.store.get("collectable") if measured else None), measured_at(measured)
    if not effect or at is None or not effect["graceSeconds"]:
        return None
    return at - timedelta(seconds=effect["graceSeconds"])
