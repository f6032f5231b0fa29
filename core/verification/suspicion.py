"""Suspicions: possible defects that are checked again before they are reported and repaired."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from core.verification.findings import Finding, Outcome

SETTLE_SECONDS: Final = 2.0
"""Seconds between the first and the second check. Writers take milliseconds between two writes."""

Look = Callable[[], Awaitable[Finding | None]]
"""Checks for the defect again, and returns the finding if it still exists."""
Repair = Callable[[], Awaitable[Outcome | None]]
"""Repairs the defect and returns the outcome, or None if there was no defect after all."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A possible defect. It may also be a write in progress."""

    look: Look
    repair: Repair | None = None
    """The repair; None if the store cannot repair this defect."""
    otherwise: Outcome = Outcome.FOUND
    """The outcome to report if there is no `repair` and repairs were requested."""


class Confirmer:
    """Checks suspicions again, all after one pause, and repairs the confirmed ones if requested."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]], *, repairs: bool, settle_seconds: float) -> None:
        self._sleep = sleep
        self._repairs = repairs
        self._settle_seconds = settle_seconds

    async def confirm(self, suspicions: Iterable[Suspicion]) -> list[Finding]:
        """Return the confirmed findings with their outcomes. Does not pause if there are no suspicions."""
        open_cases = list(suspicions)
        if not open_cases:
            return []
        await self._sleep(self._settle_seconds)
        findings = []
        for suspicion in open_cases:
            finding = await suspicion.look()
            if finding is not None:
                findings += await self._repair(suspicion, finding)
        return findings

    async def _repair(self, suspicion: Suspicion, finding: Finding) -> list[Finding]:
        if not self._repairs:
            return [finding]
        if suspicion.repair is None:
            return [replace(finding, outcome=suspicion.otherwise)]
        outcome = await suspicion.repair()
        return [] if outcome is None else [replace(finding, outcome=outcome)]
