"""Instruments based on prometheus-client: code shared by the multi-process and single-process metrics."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from typing_extensions import override

from core.ports.metrics import Instrument, Merge, Metrics

LABEL_SETS_MAX: Final = 500
"""Maximum number of label combinations of a metric in one process."""
OVERFLOW: Final = "other"
"""The value of all labels when that number is exceeded."""


class ClientMetrics(Metrics):
    """Creates instruments, one for each name: a second call with the same name returns the same instrument.

    Args:
        collected: the registry that is read when metrics are rendered.
        registered: the registry of new metrics; None if the values are collected in another way.
    """

    def __init__(self, collected: CollectorRegistry, registered: CollectorRegistry | None) -> None:
        self._collected = collected
        self._registered = registered
        self._made: dict[str, Instrument] = {}

    @override
    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Instrument:
        return self._made.get(name) or self._make(
            name, Counter(name, description, labels, registry=self._registered), "inc", labels
        )

    @override
    def gauge(self, name: str, description: str, labels: Sequence[str] = (), *, merge: Merge = Merge.SUM) -> Instrument:
        mode: Any = f"live{merge.value}"
        return self._made.get(name) or self._make(
            name, Gauge(name, description, labels, registry=self._registered, multiprocess_mode=mode), "set", labels
        )

    @override
    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        return self._made.get(name) or self._make(
            name, Histogram(name, description, labels, registry=self._registered, buckets=buckets), "observe", labels
        )

    @override
    def render(self, accept: str) -> tuple[bytes, str]:
        encode, media_type = choose_encoder(accept)
        return encode(self._collected), media_type

    def _make(self, name: str, family: Any, method: str, labels: Sequence[str]) -> Instrument:
        return self._made.setdefault(name, _Labelled(family, method, has_labels=bool(labels)))


class _Labelled:
    """Caches the child metric of each label combination in a dictionary, which is faster than the library's lookup."""

    __slots__ = ("_children", "_family", "_has_labels", "_method")

    def __init__(self, family: Any, method: str, *, has_labels: bool) -> None:
        self._family = family
        self._method = method
        self._has_labels = has_labels
        self._children: dict[tuple[str, ...], Callable[[float], None]] = {}

    def __call__(self, value: float, *labels: str) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._open(labels)
        child(value)

    def _open(self, labels: tuple[str, ...]) -> Callable[[float], None]:
        if len(self._children) >= LABEL_SETS_MAX:
            # A defect elsewhere must not exhaust the memory of the monitoring system.
            labels = (OVERFLOW,) * len(labels)
        family = self._family.labels(*labels) if self._has_labels else self._family
        return self._children.setdefault(labels, getattr(family, self._method))
