"""Construction of metrics and traces, if enabled."""

from collections.abc import Callable as CallableType
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from config.container.applications import Observers
from config.version import installed_version
from core.ports.metrics import Metrics
from core.ports.tracing import Tracer


def make_observers(folder: Path | None, worker: int, exporters: Sequence[str]) -> Observers:
    """Return the metrics and traces of this process; one call per process, after the fork.

    Args:
        folder: the folder in which the processes of a server share metrics; None disables metrics.
        worker: the number of this process.
        exporters: the exporters of spans; none disables traces.
    """
    return Observers(metrics=_make_metrics(folder, worker), tracer=_make_tracer(exporters))


def _make_metrics(folder: Path | None, worker: int) -> Metrics | None:
    if folder is None:
        return None
    from adapters.metrics.prometheus import PrometheusMetrics  # noqa: PLC0415

    return PrometheusMetrics(folder, worker)


def _make_tracer(exporters: Sequence[str]) -> Tracer | None:
    if not exporters:
        return None
    from adapters.tracing.otel import OtelTracer, make_exporters  # noqa: PLC0415

    return OtelTracer(make_exporters(exporters), version=installed_version())


def allocate_metrics(folder: Path, worker: int) -> None:
    """Create the metrics files of one process.

    Raises:
        OSError: there is no room for them.
    """
    from adapters.metrics.prometheus import allocate  # noqa: PLC0415

    allocate(folder, worker)


def reset_gauges(folder: Path, worker: int) -> None:
    """Reset the gauges of a process that has ended; its counters remain.

    Raises:
        OSError: there is no room for the gauges of its successor.
    """
    from adapters.metrics.prometheus import reset_gauges  # noqa: PLC0415

    reset_gauges(folder, worker)


def make_command_metrics() -> Metrics:
    """Return the metrics of a command, which is one process and writes them to a file."""
    from adapters.metrics.prometheus import SingleProcessMetrics  # noqa: PLC0415

    return SingleProcessMetrics()


def damage_counter(metrics: Metrics | None) -> CallableType[[], None]:
    """Return the function that counts damaged content; it does nothing if metrics are disabled."""
    if metrics is None:
        return lambda: None
    count = metrics.counter("registry_damaged_content_total", "Number of damaged blobs and manifests found by pulls.")
    return lambda: count(1)


def packages_can_trace() -> bool:
    """Whether the packages of the extra `otel` are installed; all processes share the modules that this imports."""
    try:
        import_module("adapters.tracing.otel")
    except ImportError:
        return False
    return True
