"""Readers for the sampler: numbers that other parts have at hand anyway."""

import platform
from collections.abc import Callable
from datetime import datetime

from config.version import installed_version
from core.ports.metrics import Merge, Metrics
from core.services.catalog import CatalogService
from entrypoints.observability.health import Health
from entrypoints.observability.readiness import Readiness


def tell_build(metrics: Metrics) -> None:
    """Tell which version this is."""
    build = metrics.gauge(
        "registry_build_info", "Which version runs; always 1.", ["version", "python"], merge=Merge.LARGEST
    )
    build(1, installed_version(), platform.python_version())


def certificate_gauge(metrics: Metrics) -> Callable[[datetime], None]:
    """Return what is to be called with the end of the certificate that is served."""
    gauge = metrics.gauge(
        "registry_tls_certificate_expiry_timestamp_seconds",
        "When the certificate of the listener ends (its notAfter), in Unix time.",
        merge=Merge.SMALLEST,
    )
    return lambda expires: gauge(expires.timestamp())


def catalog_reader(metrics: Metrics, catalog: CatalogService, clock: Callable[[], float]) -> Callable[[], None]:
    """Return a reader of how far the catalog's index is behind."""
    up = metrics.gauge("registry_catalog_index_up", "Whether the index answers and is whole.", merge=Merge.SMALLEST)
    pending = metrics.gauge("registry_catalog_pending_names", "Names that the index still has to be told of.")
    forgotten = metrics.gauge("registry_catalog_forgotten_names", "Names that only a rebuild can bring in.")
    lag = metrics.gauge("registry_catalog_lag_seconds", "For how long the index has been behind.", merge=Merge.LARGEST)
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


def health_reader(metrics: Metrics, health: Health, readiness: Readiness) -> Callable[[], None]:
    """Return a reader of what health checks and readiness say; the worst worker counts."""
    up = metrics.gauge(
        "registry_health_check_up", "Whether a check of `health` is content.", ["check"], merge=Merge.SMALLEST
    )
    ready = metrics.gauge("registry_ready", "Whether `/readyz` says 200.", merge=Merge.SMALLEST)

    def read() -> None:
        failing = health.failures
        for name in health.names:
            up(0 if name in failing else 1, name)
        ready(0 if readiness.missing() else 1)

    return read
