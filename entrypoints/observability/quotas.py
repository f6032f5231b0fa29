"""Metrics of the pulls that upstreams still allow."""

from collections.abc import Callable

from core.ports.metrics import Merge, Metrics
from core.pull_through.origins import Origins


def quota_reader(metrics: Metrics, origins: Origins, clock: Callable[[], float]) -> Callable[[], None]:
    """Return a reader of the pulls that the upstreams still allow.

    A quota that was not confirmed for its whole window counts as full, since the counted pulls have left the window.
    """
    labels = ["upstream"]
    limit = metrics.gauge(
        "registry_proxy_quota_limit", "Pulls that the upstream allows per window.", labels, merge=Merge.LARGEST
    )
    remaining = metrics.gauge(
        "registry_proxy_quota_remaining", "Pulls that the upstream still allows.", labels, merge=Merge.SMALLEST
    )
    seen: dict[str, tuple[object, float]] = {}

    def read() -> None:
        for _, upstream in origins.upstreams:
            quota = upstream.quota
            if quota is None:
                continue
            now = clock()
            last, since = seen.get(upstream.name, (None, now))
            if last is not quota:
                since = now
            seen[upstream.name] = quota, since
            limit(quota.limit, upstream.name)
            is_over = now - since >= quota.window_seconds
            remaining(quota.limit if is_over else quota.remaining, upstream.name)

    return read
