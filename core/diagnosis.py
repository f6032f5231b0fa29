"""What a check of the surroundings came to, and adapters that can tell how their own are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    SKIPPED = "skipped"
    """Could not be looked at; `detail` says why."""
    WARNING = "warning"
    """Works now, and will not always, or not for everybody."""
    FAILURE = "failure"
    """Pushes, pulls or deletes fail because of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One thing that was looked at. No text of it tells a secret."""

    check: str
    """What was looked at, in a few words that stay the same."""
    verdict: Verdict
    detail: str = ""
    """What was seen."""
    remedy: str = ""
    """What to do about it; for a warning or a failure."""


class Diagnosable(ABC):
    """An adapter that knows more of its surroundings than its port lets it tell."""

    @abstractmethod
    async def diagnose(self) -> Sequence[Diagnosis]:
        """Look at everything that goes wrong in practice and leave nothing behind; never raises for what it finds."""
