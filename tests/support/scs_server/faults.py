"""Faults that a store may have, drawn from a seed so that a failing run can be repeated."""

import random
from dataclasses import dataclass, field
from enum import Enum


class Fault(Enum):
    """What goes wrong with one request."""

    NONE = "none"
    ERROR_500 = "500"
    ERROR_503 = "503"
    RESET_BEFORE = "the connection is reset before anything is done"
    RESET_AFTER = "all is done and the answer is lost"
    SLOW = "the answer comes late"
    CUT_BODY = "the body of the answer ends early"


@dataclass
class Faults:
    """Meets each request with a fault at `rate`, or exactly those operations that are armed.

    Args:
        seed: decides everything.
        rate: between 0 (never) and 1 (always).
        kinds: which faults are drawn.
        slow_seconds: how late a slow answer is.
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
        """Let the next requests of `operation` meet these faults."""
        self.armed.setdefault(operation, []).extend(faults)

    def draw(self, operation: str) -> Fault:
        """Decide about one request."""
        if self.armed.get(operation):
            return self.armed[operation].pop(0)
        if self._random.random() >= self.rate:
            return Fault.NONE
        return self._random.choice(self.kinds)
