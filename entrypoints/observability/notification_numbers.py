"""Notifications as metrics: distribution's names where it has one, and what it cannot tell beside them."""

from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from core.notifications.notifier import NotificationStats
from core.notifications.stats import EndpointStats
from core.ports.metrics import Instrument, Merge, Metrics

_ENDPOINT: Final = ("endpoint",)
_SUCCESS_BELOW: Final = 400


class NotificationsReader:
    """A reader for the sampler; one per process.

    Args:
        metrics: makes the instruments.
        stats: tells the numbers of this process.
    """

    def __init__(self, metrics: Metrics, stats: Callable[[], NotificationStats]) -> None:
        self._stats = stats
        self._grown: dict[tuple[Instrument, tuple[str, ...]], int] = defaultdict(int)
        self._events = metrics.counter(
            "registry_notifications_events_total",
            "Events recorded (Events), delivered (Successes), and tries that were refused (Failures) or not answered "
            "(Errors).",
            ["type", *_ENDPOINT],
        )
        self._statuses = metrics.counter(
            "registry_notifications_status_total", "Answers of an endpoint.", ["code", *_ENDPOINT]
        )
        self._given_up = metrics.counter(
            "registry_notifications_given_up_total",
            "Events that became dead letters (dead), and events and dead letters that are gone (dropped).",
            ["fate", *_ENDPOINT],
        )
        self._lost = metrics.counter(
            "registry_notifications_lost_total", "Events that found no room in memory before they were recorded."
        )
        self._pending = metrics.gauge(
            "registry_notifications_pending_total", "Events that are still to be delivered.", _ENDPOINT
        )
        self._bytes = metrics.gauge("registry_notifications_pending_bytes", "Their bytes.", _ENDPOINT)
        self._lag = metrics.gauge(
            "registry_notifications_lag_seconds", "How old the oldest of them is.", _ENDPOINT, merge=Merge.LARGEST
        )
        self._dead = metrics.gauge("registry_notifications_dead_letters", "Events that were given up.", _ENDPOINT)
        self._down = metrics.gauge(
            "registry_notifications_endpoint_down",
            "1 while the last tries, as many as its threshold or more, all failed.",
            _ENDPOINT,
            merge=Merge.LARGEST,
        )

    def __call__(self) -> None:
        """Take over what has changed."""
        stats = self._stats()
        self._grow(self._lost, stats.lost)
        for endpoint in stats.endpoints:
            self._read(endpoint)

    def _read(self, endpoint: EndpointStats) -> None:
        answered = sum(count for status, count in endpoint.statuses.items() if status >= _SUCCESS_BELOW)
        self._grow(self._events, endpoint.recorded, "Events", endpoint.name)
        self._grow(self._events, endpoint.delivered, "Successes", endpoint.name)
        self._grow(self._events, answered, "Failures", endpoint.name)
        self._grow(self._events, endpoint.failures - answered, "Errors", endpoint.name)
        self._grow(self._given_up, endpoint.buried, "dead", endpoint.name)
        self._grow(self._given_up, endpoint.dropped, "dropped", endpoint.name)
        for status, count in endpoint.statuses.items():
            self._grow(self._statuses, count, _code(status), endpoint.name)
        self._pending(endpoint.queued, endpoint.name)
        self._bytes(endpoint.queued_bytes, endpoint.name)
        self._lag(endpoint.lag_seconds, endpoint.name)
        self._dead(endpoint.dead, endpoint.name)
        self._down(1 if endpoint.is_down else 0, endpoint.name)

    def _grow(self, counter: Instrument, total: int, *labels: str) -> None:
        """Have a counter say `total`; an endpoint that went and came back counts from nought again."""
        grown = total - self._grown[counter, labels]
        counter(grown if grown >= 0 else total, *labels)
        self._grown[counter, labels] = total


def _code(status: int) -> str:
    """A status as distribution's metrics write it: `200 OK`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} "
