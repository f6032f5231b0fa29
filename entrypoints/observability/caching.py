"""Metrics of the upkeep of the cache."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.ports.metrics import Merge, Metrics

if TYPE_CHECKING:
    from core.pull_through.eviction import EvictionReport


def eviction_observer(metrics: Metrics) -> "Callable[[EvictionReport], None]":
    """Return the function to call after each eviction."""
    size = metrics.gauge(
        "registry_proxy_cache_bytes", "Size of the cached content at the last survey.", merge=Merge.LARGEST
    )
    images = metrics.counter("registry_proxy_evicted_images_total", "Images removed from the cache.")
    removed = metrics.counter("registry_proxy_evicted_bytes_total", "Bytes of content removed from the cache.")

    def observe(report: "EvictionReport") -> None:
        size(report.size)
        images(len(report.images) - report.spared)
        removed(report.bytes_removed)

    return observe


def prefetch_observer(metrics: Metrics, now: Callable[[], float] = time.time) -> Callable[[str], None]:
    """Return the function to call with the image of a rule after each run without failures."""
    succeeded = metrics.gauge(
        "registry_proxy_prefetch_last_success_timestamp_seconds",
        "End of the last run of a prefetch rule without failures, in Unix time.",
        ["image"],
        merge=Merge.LARGEST,
    )

    def observe(image: str) -> None:
        # The configuration names the image, not a client.
        succeeded(now(), image)

    return observe
