"""Metrics of upstreams and of the pull-through cache, some under distribution's names."""

from typing import Final

from core.ports.metrics import Metrics
from core.pull_through.filling import FetchEvent, Observe
from core.pull_through.origins import Origins

ANSWER_CLASSES: Final = ("ok", "absent", "busy", "timeout", "unavailable")


class UpstreamCounts:
    """Counts the questions to one upstream, and the bytes that it sent.

    Args:
        metrics: the metrics of the process.
        upstream: the name of the upstream, which the configuration determines.
    """

    def __init__(self, metrics: Metrics, upstream: str) -> None:
        self._upstream = upstream
        self._requests = metrics.counter(
            "registry_proxy_upstream_requests_total",
            "Questions to upstreams, by the class of the answer.",
            ["upstream", "operation", "class"],
        )
        self._fetched = metrics.counter(
            "registry_proxy_fetched_bytes_total", "Bytes of manifests and blobs from upstreams.", ["upstream"]
        )
        self._pulled = metrics.counter(
            "registry_proxy_pulled_bytes_total", "Bytes of manifests and blobs from upstreams.", ["type"]
        )
        self._in_flight = metrics.gauge(
            "registry_proxy_fetches_in_flight", "Blobs that arrive from upstreams.", ["upstream"]
        )
        self._arriving = 0
        # Export zeros from the start, so that rates include the first increment.
        for name in ANSWER_CLASSES:
            self._requests(0, upstream, "manifest", name)
        self._fetched(0, upstream)
        self._pulled(0, "manifest")
        self._pulled(0, "blob")
        self._in_flight(0, upstream)

    def answered(self, operation: str, kind: str) -> None:
        """Record a question."""
        self._requests(1, self._upstream, operation, kind)

    def received(self, kind: str, size: int) -> None:
        """Record bytes."""
        self._fetched(size, self._upstream)
        self._pulled(size, kind)

    def fetching(self, change: int) -> None:
        """Record that a blob began or ended to arrive."""
        self._arriving += change
        self._in_flight(self._arriving, self._upstream)


class IgnoredCounts:
    """Counts nothing, for processes without metrics."""

    def answered(self, operation: str, kind: str) -> None:
        """Ignore a question."""

    def received(self, kind: str, size: int) -> None:
        """Ignore bytes."""

    def fetching(self, change: int) -> None:
        """Ignore a blob."""


def fetch_observer(metrics: Metrics | None, origins: Origins) -> Observe:
    """Return the function that counts the events of fetches."""
    if metrics is None:
        return lambda _event, _upstream, _size: None
    fetches = metrics.counter(
        "registry_proxy_fetches_total", "Events of fetches of blobs from upstreams.", ["upstream", "event"]
    )
    wrong = metrics.counter(
        "registry_proxy_wrong_digests_total", "Blobs from upstreams that did not match their digest.", ["upstream"]
    )
    for _, upstream in origins.upstreams:
        wrong(0, upstream.name)
        fetches(0, upstream.name, FetchEvent.BEGUN.value)

    def observe(event: FetchEvent, upstream: str, _size: int) -> None:
        fetches(1, upstream, event.value)
        if event is FetchEvent.MISMATCHED:
            wrong(1, upstream)

    return observe
