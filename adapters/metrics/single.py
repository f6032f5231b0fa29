"""Metrics of a single process without an endpoint: a command, which writes them to a file."""

from prometheus_client import CollectorRegistry, disable_created_metrics, values

from adapters.metrics.instruments import ClientMetrics


class SingleProcessMetrics(ClientMetrics):
    """Metrics in memory; one per process."""

    def __init__(self) -> None:
        # The library selects its value class by a variable that a parent process may have set.
        values.ValueClass = values.MutexValue
        # Disable the `_created` gauge of each counter; servers do not export it either.
        disable_created_metrics()  # type: ignore[no-untyped-call] # untyped there
        registry = CollectorRegistry()
        super().__init__(registry, registry)
