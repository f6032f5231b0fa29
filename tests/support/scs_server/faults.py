"""Faults of a store, drawn from a seed so that a failing run can be repeated."""

import random
from dataclasses import dataclass, field
from enum import Enum


class Fault(Enum):
    """Fault of one request."""

    NONE = "none"
    ERROR_500 = "500"
    ERROR_503 = "503"
    RESET_BEFORE = "the connection is reset before anything is done"
    RESET_AFTER = "all is done and the answer is lost"
    SLOW = "the answer comes late"
    CUT_BODY = "the body of the answer ends early"


@dataclass
class Faults:
    """Source of faults: random ones at `rate`, and those armed for particular operations.

    Args:
        seed: determines all faults.
        rate: between 0 (never) and 1 (always).
        kinds: faults to draw from.
        slow_seconds: delay of a slow response.
    """

    seed: int = 0
    rate: float = 0.0
    kinds: tuple[Fault, ...] = tuple(kind for kind in Fault if kind is not Fault.NONE)
    slow_seconds: float = 0.05
    armed: dict[str, list[Fault]] = field(default_factory=dict)
    """Faults of the next requests of an operation, in order."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def arm(self, operation: str, *faults: Fault) -> None:
        """Assign these faults to the next requests of `operation`."""
        self.armed.setdefault(operation, []).extend(faults)

    def draw(self, operation: str) -> Fault:
        """Return the fault of one request."""
        if self.armed.get(operation):
            return self.armed[operation].pop(0)
        if self._random.random() >= self.rate:
            return Fault.NONE
        return self._random.choice(self.kinds)
