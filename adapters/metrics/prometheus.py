"""Metrics in prometheus-client's multi-process mode: each process writes its own mapped files, each can read all.

The files are named after the worker's number instead of its process id: a process that replaces a dead worker continues
its counters in the same files, so there are never more files than workers, and no counter decreases.
"""

import os
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

from adapters.metrics.instruments import ClientMetrics


class PrometheusMetrics(ClientMetrics):
    """The metrics of one process, in a folder shared by the processes of the server; one per process.

    Args:
        folder: private to the server, emptied before the server starts.
        worker: returns the number of this process, unique among the running processes of the server.
    """

    def __init__(self, folder: Path, worker: Callable[[], int]) -> None:
        # The library reads the folder from this variable only, and selects its value class on import.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # noqa: TID251 - written, not read
        values.ValueClass = values.MultiProcessValue(worker)  # type: ignore[no-untyped-call] # untyped there
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call] # likewise
        # Not registered: the collector reads the files instead.
        super().__init__(registry, None)
