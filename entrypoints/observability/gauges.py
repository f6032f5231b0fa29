"""Readers for the sampler: metrics from values that other parts already hold."""

import platform
import time
from collections.abc import Callable
from datetime import datetime

from config.version import installed_version
from core.ports.metrics import Merge, Metrics
from core.registry.abandoned_uploads import Purged
from core.registry.catalog import CatalogService
from entrypoints.observability.health import Health
from entrypoints.observability.readiness import Readiness


def set_build_info(metrics: Metrics) -> None:
    """Set the metric with the version of the registry."""
    build = metrics.gauge(
        "registry_build_info",
        "Always 1; the labels are the running version.",
        ["version", "python"],
        merge=Merge.LARGEST,
    )
    build(1, installed_version(), platform.python_version())


def certificate_gauge(metrics: Metrics) -> Callable[[datetime], None]:
    """Return a function that sets the metric from the expiry time of the served certificate."""
    gauge = metrics.gauge(
        "registry_tls_certificate_expiry_timestamp_seconds",
        "Expiry time of the served certificate (notAfter) in Unix time.",
        merge=Merge.SMALLEST,
    )
    return lambda expires: gauge(expires.timestamp())


def order_observer(metrics: Metrics) -> Callable[[bool], None]:
    """Return a function that counts orders of certificates by their outcome."""
    orders = metrics.counter(
        "registry_tls_certificate_orders_total", "Orders of certificates at the ACME server by outcome.", ["outcome"]
    )
    # Both series exist from the start, so that the first failure is an increase.
    for outcome in ("success", "failure"):
        orders(0, outcome)
    return lambda succeeded: orders(1, "success" if succeeded else "failure")


def catalog_reader(metrics: Metrics, catalog: CatalogService, clock: Callable[[], float]) -> Callable[[], None]:
    """Return a reader that measures how far the catalog index is behind."""
    up = metrics.gauge(
        "registry_catalog_index_up", "1 if the catalog index responds and is complete.", merge=Merge.SMALLEST
    )
    pending = metrics.gauge("registry_catalog_pending_names", "Names that are not yet written to the catalog index.")
    forgotten = metrics.gauge(
        "registry_catalog_forgotten_names", "Names that only a rebuild can add to the catalog index."
    )
    lag = metrics.gauge(
        "registry_catalog_lag_seconds", "Seconds for which the catalog index has been behind.", merge=Merge.LARGEST
    )
    behind_since: float | None = None

    def read() -> None:
        nonlocal behind_since
        up(0 if catalog.trouble else 1)
        pending(catalog.pending)
        forgotten(catalog.forgotten)
        if not catalog.pending and not catalog.forgotten:
            behind_since = None
        elif behind_since is None:
            behind_since = clock()
        lag(0 if behind_since is None else clock() - behind_since)

    return read


def read_only_reader(metrics: Metrics, is_read_only: Callable[[], bool]) -> Callable[[], None]:
    """Return a reader of the read-only mode."""
    gauge = metrics.gauge(
        "registry_read_only",
        "1 while the registry is read-only, by configuration or by `registry readonly on`.",
        merge=Merge.LARGEST,
    )
    return lambda: gauge(1 if is_read_only() else 0)


def purge_observer(metrics: Metrics, now: Callable[[], float] = time.time) -> Callable[[Purged], None]:
    """Return a function to call after each purge of abandoned uploads."""
    counter = metrics.counter("registry_uploads_purged_total", "Abandoned uploads removed.", ["kind"])
    succeeded = metrics.gauge(
        "registry_uploads_purge_last_success_timestamp_seconds",
        "End of the last search for abandoned uploads by this server in Unix time.",
        merge=Merge.LARGEST,
    )
    # Initialize the counters to 0, so that a rate exists from the first increment.
    counter(0, "session")
    counter(0, "multipart")

    def observe(purged: Purged) -> None:
        counter(len(purged.sessions), "session")
        counter(len(purged.unfinished), "multipart")
        succeeded(now())

    return observe


def health_reader(metrics: Metrics, health: Health, readiness: Readiness) -> Callable[[], None]:
    """Return a reader of health checks and readiness; across workers, the worst value counts."""
    up = metrics.gauge("registry_health_check_up", "1 if the health check passes.", ["check"], merge=Merge.SMALLEST)
    ready = metrics.gauge("registry_ready", "1 if `/readyz` returns 200.", merge=Merge.SMALLEST)

    def read() -> None:
        failing = health.failures
        for name in health.names:
            up(0 if name in failing else 1, name)
        ready(0 if readiness.missing() else 1)

    return read
