"""What looks wrong, and how it is looked at once more before it is told and repaired."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from core.verification.findings import Finding, Outcome

SETTLE_SECONDS: Final = 2.0
"""How long what looks wrong is left alone before it is looked at again; writers take milliseconds between writes."""

Look = Callable[[], Awaitable[Finding | None]]
"""Looks at something again and returns what is wrong with it now, if anything."""
Repair = Callable[[], Awaitable[Outcome | None]]
"""Repairs something and returns what came of it; None where it turned out to be sound after all."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something that looked wrong once, which may be a write under way."""

    look: Look
    repair: Repair | None = None
    """Nothing can be done about it in storage where there is none."""
    otherwise: Outcome = Outcome.FOUND
    """What comes of it without a repair of its own, when repairs are wanted."""


class Judge:
    """Looks at suspicions again, all together after one wait, and repairs what stays if that is wanted."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]], *, repairs: bool, settle_seconds: float) -> None:
        self._sleep = sleep
        self._repairs = repairs
        self._settle_seconds = settle_seconds

    async def judge(self, suspicions: Iterable[Suspicion]) -> list[Finding]:
        """Return what is still wrong, with what came of it. Costs nothing but its requests where nothing is."""
        open_cases = list(suspicions)
        if not open_cases:
            return []
        await self._sleep(self._settle_seconds)
        findings = []
        for suspicion in open_cases:
            finding = await suspicion.look()
            if finding is not None:
                findings += await self._act(suspicion, finding)
        return findings

    async def _act(self, suspicion: Suspicion, finding: Finding) -> list[Finding]:
        if not self._repairs:
            return [finding]
        if suspicion.repair is None:
            return [replace(finding, outcome=suspicion.otherwise)]
        outcome = await suspicion.repair()
        return [] if outcome is None else [replace(finding, outcome=outcome)]
