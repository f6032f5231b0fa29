"""Metrics in prometheus-client's multi-process mode: each process writes to mapped files of its own, any reads all.

The files are named after the worker's number instead of its process id: who takes the place of a dead worker goes on
counting in that worker's files, so there are never more of them than workers, and no counter falls.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from typing_extensions import override

from adapters.metrics.labelled import Labelled
from core.ports.metrics import Instrument, Merge, Metrics


class PrometheusMetrics(Metrics):
    """The metrics of one process, kept in a folder that its sister processes share; one per process.

    Args:
        folder: private to the server, emptied before it starts.
        worker: tells the number of this process, which no other living process of the server has.
    """

    def __init__(self, folder: Path, worker: Callable[[], int]) -> None:
        # The library takes the folder from nowhere else, and chooses its kind of values when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # noqa: TID251 - written, not read
        values.ValueClass = values.MultiProcessValue(worker)  # type: ignore[no-untyped-call] # untyped there
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, path=str(folder))  # type: ignore[no-untyped-call] # likewise

    @override
    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Instrument:
        return Labelled(Counter(name, description, labels, registry=None), "inc", has_labels=bool(labels))

    @override
    def gauge(self, name: str, description: str, labels: Sequence[str] = (), *, merge: Merge = Merge.SUM) -> Instrument:
        mode: Any = f"live{merge.value}"
        family = Gauge(name, description, labels, registry=None, multiprocess_mode=mode)
        return Labelled(family, "set", has_labels=bool(labels))

    @override
    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Instrument:
        family = Histogram(name, description, labels, registry=None, buckets=buckets)
        return Labelled(family, "observe", has_labels=bool(labels))

    @override
    def render(self, accept: str) -> tuple[bytes, str]:
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type
