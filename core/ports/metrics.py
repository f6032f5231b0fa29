"""The port for metrics: measurements of the running registry that a monitoring system collects.

Code that counts something creates an instrument once, keeps it, and calls it. Names, units and suffixes follow
Prometheus: seconds and bytes, `_total` for counters. Labels take few values that are known in advance (routes, methods,
drivers): never a repository name, a path, or any other value chosen by a client.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol


class Instrument(Protocol):
    """One metric of this process."""

    def __call__(self, value: float, *labels: str) -> None:
        """Record a value, in memory, without blocking.

        A counter adds the value, a gauge is set to it, and a histogram counts it in a bucket.

        Args:
            value: in the unit at the end of the metric's name.
            labels: one text per label, in the order of their declaration.
        """


class Merge(Enum):
    """How the gauges of several processes are combined. Processes that have ended do not count."""

    SUM = "sum"
    LARGEST = "max"
    SMALLEST = "min"


class Metrics(ABC):
    """Creates instruments. One per process; the metrics of all sibling processes are read together.

    The values of counters and histograms outlive their process, so that they never decrease while the server runs.
    """

    @abstractmethod
    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Instrument:
        """Create a counter; `name` ends in `_total`."""

    @abstractmethod
    def gauge(self, name: str, description: str, labels: Sequence[str] = (), *, merge: Merge = Merge.SUM) -> Instrument:
        """Create a gauge."""

    @abstractmethod
    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        """Create a histogram; `buckets` are upper bounds, ascending."""

    @abstractmethod
    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics of all processes in the format requested by the `Accept` header, and its media type.

        Blocks for some milliseconds per process.
        """
