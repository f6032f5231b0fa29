"""Construction of metrics and traces, if enabled."""

from collections.abc import Callable as CallableType
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from config.version import installed_version
from core.ports.metrics import Metrics
from core.ports.tracing import Tracer


def make_metrics(folder: Path | None, worker_number: CallableType[[], int]) -> Metrics | None:
    """Return the metrics that workers share in a folder, or None without a folder."""
    if folder is None:
        # Metrics are disabled, or this is a command without an endpoint for metrics.
        return None
    from adapters.metrics.prometheus import PrometheusMetrics  # noqa: PLC0415

    return PrometheusMetrics(folder, worker_number)


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


def make_tracer(exporters: Sequence[str]) -> Tracer | None:
    """Return the tracer, or None if tracing is disabled."""
    if not exporters:
        return None
    from adapters.tracing.otel import OtelTracer, make_exporters  # noqa: PLC0415

    return OtelTracer(make_exporters(exporters), version=installed_version())


def make_job_metrics() -> Metrics:
    """Return the metrics of a command, which is one process."""
    from adapters.metrics.single import SingleProcessMetrics  # noqa: PLC0415

    return SingleProcessMetrics()
