"""Metrics of a process that has no sisters and is asked by nobody: a command, which writes them to a file."""

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.exposition import choose_encoder
from typing_extensions import override

from adapters.metrics.labelled import Labelled
from core.ports.metrics import Instrument, Merge, Metrics


class SingleProcessMetrics(Metrics):
    """Metrics in memory; one per process."""

    def __init__(self) -> None:
        # The library chooses its kind of values by a variable that a parent process may have set.
        values.ValueClass = values.MutexValue
        # A gauge beside each counter that tells when it was made, which nobody looks at and a server does not have.
        disable_created_metrics()  # type: ignore[no-untyped-call] # untyped there
        self._registry = CollectorRegistry()

    @override
    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Instrument:
        return self._labelled(Counter(name, description, labels, registry=self._registry), "inc", labels)

    @override
    def gauge(self, name: str, description: str, labels: Sequence[str] = (), *, merge: Merge = Merge.SUM) -> Instrument:
        return self._labelled(Gauge(name, description, labels, registry=self._registry), "set", labels)

    @override
    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        family = Histogram(name, description, labels, registry=self._registry, buckets=buckets)
        return self._labelled(family, "observe", labels)

    @override
    def render(self, accept: str) -> tuple[bytes, str]:
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def _labelled(self, family: Any, method: str, labels: Sequence[str]) -> Instrument:
        return Labelled(family, method, has_labels=bool(labels))
