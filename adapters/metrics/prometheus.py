"""Metrics in prometheus-client's multi-process mode: each process writes to mapped files of its own, any reads all.

The files are named after the worker's number instead of its process id: who takes the place of a dead worker goes on
counting in that worker's files, so there are never more of them than workers, and no counter falls.
"""

import os
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

from adapters.metrics.instruments import ClientMetrics


class PrometheusMetrics(ClientMetrics):
    """The metrics of one process, kept in a folder that its sister processes share; one per process.

    Args:
        folder: private to the server, emptied before it starts.
        worker: tells the number of this process, which no other living process of the server has.
    """

    def __init__(self, folder: Path, worker: Callable[[], int]) -> None:
        # The library takes the folder from nowhere else, and chooses its kind of values when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # noqa: TID251 - written, not read
        values.ValueClass = values.MultiProcessValue(worker)  # type: ignore[no-untyped-call] # untyped there
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call] # likewise
        # Not registered: the files are what is collected.
        super().__init__(registry, None)
