"""Metrics of notifications, under distribution's names where it has them."""

from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from core.notifications.endpoint import EndpointStats
from core.notifications.notifier import NotificationStats
from core.ports.metrics import Instrument, Merge, Metrics

_PREFIX: Final = "registry_notifications"
_LABELS: Final = ("endpoint",)
_GOOD: Final = range(200, 400)


class NotificationReader:
    """Reads the statistics of one process; counters grow by the difference from the last read.

    Args:
        metrics: destination of the metrics.
        stats: returns the current statistics.
    """

    def __init__(self, metrics: Metrics, stats: Callable[[], NotificationStats]) -> None:
        self._stats = stats
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._pending = metrics.gauge(f"{_PREFIX}_pending_total", "Events waiting for delivery.", _LABELS)
        self._pending_bytes = metrics.gauge(
            f"{_PREFIX}_pending_bytes", "Bytes of events waiting for delivery in the outbox.", _LABELS
        )
        self._lag = metrics.gauge(
            f"{_PREFIX}_lag_seconds",
            "Age in seconds of the oldest event waiting for delivery.",
            _LABELS,
            merge=Merge.LARGEST,
        )
        self._dead = metrics.gauge(
            f"{_PREFIX}_dead_letters", "Events kept as dead letters after delivery was given up.", _LABELS
        )
        self._down = metrics.gauge(
            f"{_PREFIX}_endpoint_down",
            "1 if the last deliveries to the endpoint all failed.",
            _LABELS,
            merge=Merge.LARGEST,
        )
        self._events = metrics.counter(f"{_PREFIX}_events_total", "Events by outcome.", ["type", "endpoint"])
        self._statuses = metrics.counter(
            f"{_PREFIX}_status_total", "Responses of endpoints by status.", ["code", "endpoint"]
        )
        self._lost = metrics.counter(
            f"{_PREFIX}_lost_total", "Events lost because memory was full before they were recorded."
        )

    def __call__(self) -> None:
        """Read the statistics once."""
        stats = self._stats()
        self._add(self._lost, stats.lost)
        for endpoint in stats.endpoints:
            self._set_outbox(endpoint)
            for kind, count in _kinds(endpoint):
                self._add(self._events, count, kind, endpoint.name)
            for status, count in endpoint.statuses.items():
                self._add(self._statuses, count, _go_status(status), endpoint.name)

    def _set_outbox(self, endpoint: EndpointStats) -> None:
        self._pending(endpoint.queued, endpoint.name)
        self._pending_bytes(endpoint.queued_bytes, endpoint.name)
        self._lag(endpoint.lag_seconds, endpoint.name)
        self._dead(endpoint.dead, endpoint.name)
        self._down(int(endpoint.is_down), endpoint.name)

    def _add(self, counter: Instrument, count: int, *labels: str) -> None:
        new = count - self._seen[labels]
        if new > 0:
            counter(new, *labels)
            self._seen[labels] = count


def _kinds(endpoint: EndpointStats) -> Iterable[tuple[str, int]]:
    """Yield distribution's kinds of events with their counts, and similarly named kinds that distribution lacks."""
    refused = sum(count for status, count in endpoint.statuses.items() if status not in _GOOD)
    yield "Events", endpoint.recorded
    yield "Successes", endpoint.delivered
    yield "Failures", refused
    yield "Errors", endpoint.failures - refused
    yield "Buried", endpoint.buried
    yield "Dropped", endpoint.dropped


def _go_status(status: int) -> str:
    """Return a status as Go formats it: `200 OK`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} "
