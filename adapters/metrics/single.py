"""Metrics of a process that has no sisters and is asked by nobody: a command, which writes them to a file."""

from prometheus_client import CollectorRegistry, disable_created_metrics, values

from adapters.metrics.instruments import ClientMetrics


class SingleProcessMetrics(ClientMetrics):
    """Metrics in memory; one per process."""

    def __init__(self) -> None:
        # The library chooses its kind of values by a variable that a parent process may have set.
        values.ValueClass = values.MutexValue
        # A gauge beside each counter that tells when it was made, which nobody looks at and a server does not have.
        disable_created_metrics()  # type: ignore[no-untyped-call] # untyped there
        registry = CollectorRegistry()
        super().__init__(registry, registry)
