"""The port for metrics: numbers about the running registry that a monitoring system collects.

Whoever counts something makes an instrument once, keeps it, and calls it. Names, units and suffixes follow
Prometheus: seconds and bytes, `_total` for what only grows. Labels take few values, known beforehand (routes,
methods, drivers): never the name of a repository, a path, or anything else that a client chooses.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol


class Instrument(Protocol):
    """One metric of this process."""

    def __call__(self, value: float, *labels: str) -> None:
        """Take in a value, in memory, without waiting: added by counters, shown by gauges, sorted in by histograms.

        Args:
            value: in the unit that ends the metric's name.
            labels: one text for each label, in the order in which they were declared.
        """


class Merge(Enum):
    """What the gauges of several processes are together. A process that has ended does not count."""

    SUM = "sum"
    LARGEST = "max"
    SMALLEST = "min"


class Metrics(ABC):
    """Makes instruments; one per process, whose numbers are read together with those of its sister processes.

    What counters and histograms took in stays when the process dies, so that they never fall while the server runs.
    """

    @abstractmethod
    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Instrument:
        """Make what only grows; `name` ends in `_total`."""

    @abstractmethod
    def gauge(self, name: str, description: str, labels: Sequence[str] = (), *, merge: Merge = Merge.SUM) -> Instrument:
        """Make what goes up and down."""

    @abstractmethod
    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        """Make what shows how values are spread; `buckets` are upper bounds, ascending."""

    @abstractmethod
    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the numbers of all processes in the format that the `Accept` header asks for, and its media type.

        Blocks for some milliseconds per process.
        """
