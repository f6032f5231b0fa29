"""Results of environment checks, and the interface of adapters that check their own environment."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The severity of a result."""

    OK = "ok"
    SKIPPED = "skipped"
    """The check could not run; `detail` contains the reason."""
    WARNING = "warning"
    """Works now, but not permanently, or not for every client."""
    FAILURE = "failure"
    """Causes pushes, pulls or deletes to fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of one check. Contains no secrets."""

    check: str
    """The name of the check: a few words that do not change."""
    verdict: Verdict
    detail: str = ""
    """The observed state."""
    remedy: str = ""
    """The recommended action, for a warning or a failure."""


class Diagnosable(ABC):
    """An adapter that can check more of its environment than its port exposes."""

    @abstractmethod
    async def diagnose(self) -> Sequence[Diagnosis]:
        """Check all known causes of problems and clean up afterwards; a problem is a result, never an exception."""
