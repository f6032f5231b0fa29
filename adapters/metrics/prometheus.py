"""Metrics with prometheus-client; the only module that depends on private parts of its multi-process mode.

The processes of a server write to files in a shared folder, and each process can read all of them. The files are named
after the worker's number instead of its process id: a process that replaces a dead worker continues its counters in the
same files, so there are never more files than workers, and no counter decreases.

The client offers no public way to choose the file names or the folder, except by an environment variable. Therefore
this module replaces `values.ValueClass`, which the client creates a value of for each number, and uses `MmapedDict` and
`mmap_key`, the format of the files that the public `MultiProcessCollector` reads.
`tests/adapters/test_prometheus_metrics.py` fails if a new version of the client changes these parts.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final

from prometheus_client import CollectorRegistry, disable_created_metrics, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from adapters.metrics.instruments import ClientMetrics

_FILE_BYTES: Final = {
    "histogram": 512 * 1024,
    "counter": 128 * 1024,
    "gauge_livesum": 64 * 1024,
    "gauge_livemax": 64 * 1024,
    "gauge_livemin": 64 * 1024,
}
"""Files of one worker, with their preallocated sizes, which are rarely exceeded.

When the disk is full, a write to a hole in a memory-mapped file kills the process (SIGBUS).
"""


class PrometheusMetrics(ClientMetrics):
    """The metrics of one process, in a folder shared by the processes of the server; one per process.

    Args:
        folder: private to the server, with the files that `allocate` creates.
        worker: the number of this process, unique among the running processes of the server.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        values.ValueClass = _value_class(folder, worker)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call] # untyped there
        # Not registered: the collector reads the files instead.
        super().__init__(registry, None)


class SingleProcessMetrics(ClientMetrics):
    """Metrics in memory, without an endpoint; one per process."""

    def __init__(self) -> None:
        # The client selects its value class by a variable that a parent process may have set.
        values.ValueClass = values.MutexValue
        # Disable the `_created` gauge of each counter; servers do not export it either.
        disable_created_metrics()  # type: ignore[no-untyped-call] # untyped there
        registry = CollectorRegistry()
        super().__init__(registry, registry)


def allocate(folder: Path, worker: int) -> None:
    """Create the files of a worker.

    Raises:
        OSError: there is no room for them.
    """
    for kind in _FILE_BYTES:
        _allocate(folder, kind, worker)


def reset_gauges(folder: Path, worker: int) -> None:
    """Reset the gauges of a worker that has ended; its counters remain.

    Raises:
        OSError: there is no room for the gauges of its successor.
    """
    for kind in _FILE_BYTES:
        if kind.startswith("gauge"):
            _allocate(folder, kind, worker)


def _allocate(folder: Path, kind: str, worker: int) -> None:
    """Create an empty file, replacing an old one that may still be in use by a reader."""
    file = _path(folder, kind, worker)
    new = file.with_suffix(".new")
    with new.open("wb") as content:
        os.posix_fallocate(content.fileno(), 0, _FILE_BYTES[kind])
    new.rename(file)


def _path(folder: Path, kind: str, worker: int) -> Path:
    """Return the path of a file; `MultiProcessCollector` takes the kind of the metrics from this name."""
    return folder / f"{kind}_{worker}.db"


def _value_class(folder: Path, worker: int) -> type:
    """Return the class of the client's values: numbers in the files of this worker."""
    files: dict[str, Any] = {}
    lock = Lock()

    class FileValue:
        _multiprocess = True

        def __init__(  # noqa: PLR0917 - the client passes positional arguments
            self,
            kind: str,
            family: str,
            name: str,
            label_names: Sequence[str],
            label_values: Sequence[str],
            description: str,
            multiprocess_mode: str = "",
            **_unused: object,
        ) -> None:
            with lock:
                file_kind = f"{kind}_{multiprocess_mode}" if kind == "gauge" else kind
                if file_kind not in files:
                    files[file_kind] = MmapedDict(str(_path(folder, file_kind, worker)))  # type: ignore[no-untyped-call]
                self._file = files[file_kind]
                self._key = mmap_key(family, name, list(label_names), list(label_values), description)
                self._value = self._file.read_value(self._key)[0]

        def inc(self, amount: float) -> None:
            with lock:
                self._value += amount
                self._file.write_value(self._key, self._value, 0.0)

        def set(self, value: float, timestamp: float | None = None) -> None:
            with lock:
                self._value = value
                self._file.write_value(self._key, value, timestamp or 0.0)

        def get(self) -> float:
            with lock:
                return float(self._value)

    return FileValue
