"""The verification: whether it runs, the result of the last run, its findings, and its start."""

from collections.abc import Mapping
from typing import Final

from core.errors import NameUnknownError
from core.model.access import ADMINISTRATION
from core.ports.audit_log import AuditAction
from entrypoints.http.keys import AUDIT_ACTION, TARGET
from entrypoints.http.routes import Resource, Right, Target
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit

_PAGE_SIZE: Final = 50
_IMAGES_SHOWN: Final = 5
"""Number of images that are named of each finding."""
_START: Final = "start"
"""The part of the address of the question before a start."""


class VerificationViews:
    """Shows the state and the findings of the verification, and starts a run."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._control = parts.operations.verification
        self._findings = parts.operations.findings

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.VERIFICATION, "GET"): self.show, (Page.VERIFICATION, "POST"): self.start}

    async def show(self, visit: Visit) -> Answer:
        """Show the state and a page of findings, for operators, or the question before a start.

        At most 60 storage requests, of which 50 read findings; usually fewer than ten.
        """
        visit.require(ADMINISTRATION)
        if visit.location.reference not in {"", _START}:
            raise NameUnknownError("no such page")
        state, checkpoint = await self._control.state(), await self._findings.peek()
        values: dict[str, object] = {
            "state": state,
            "checkpoint": checkpoint,
            "next_at": self._control.next_at(state),
            "is_scheduled": self._parts.settings.storage.verification.enabled,
            "repairs": self._control.is_upkeep,
        }
        if visit.location.reference:
            return Shown(template="verification-start.html", values=values)
        page = await self._findings.page(n=_PAGE_SIZE, last=visit.query("last"))
        values |= {
            "findings": page.findings,
            "following": page.last or None,
            "is_first": not visit.query("last"),
            "images_shown": _IMAGES_SHOWN,
        }
        return Shown(template="verification.html", values=values)

    async def start(self, visit: Visit) -> Answer:
        """Start a run, which continues after the answer."""
        visit.request[AUDIT_ACTION] = AuditAction.VERIFICATION_START
        visit.request[TARGET] = Target(Resource.VERIFICATION)
        visit.require(ADMINISTRATION)
        if self._control.is_upkeep:
            await self._parts.flags.require(Right.UPKEEP)
        await self._parts.auditor.ask(visit.request)
        await self._control.start()
        return Moved(location=Location(Page.VERIFICATION))
