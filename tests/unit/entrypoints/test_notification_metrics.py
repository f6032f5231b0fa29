"""Numbers of notifications as metrics."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.metrics.prometheus import SingleProcessMetrics
from core.notifications.endpoint import EndpointStats
from core.notifications.notifier import NotificationStats
from entrypoints.observability.notification_metrics import NotificationReader
from tests.support.metrics import Scrape

NOTHING = EndpointStats("ci")


@pytest.fixture
def read():
    metrics = SingleProcessMetrics()
    current: dict[str, Any] = {}

    def stats():
        return NotificationStats(is_delivering=True, lost=current["lost"], endpoints=[current["endpoint"]])

    reader = NotificationReader(metrics, stats)

    def read_once(lost=0, **numbers):
        current.update(lost=lost, endpoint=replace(NOTHING, **numbers))
        reader()
        return Scrape(metrics.render("")[0].decode())

    return read_once


def test_outbox_is_measured(read):
    scrape = read(queued=3, queued_bytes=900, lag_seconds=12.5, dead=2, is_down=True)
    expected = {"pending_total": 3, "pending_bytes": 900, "lag_seconds": 12.5, "dead_letters": 2, "endpoint_down": 1}
    assert {name: scrape.total(f"registry_notifications_{name}", endpoint="ci") for name in expected} == expected
    assert read().total("registry_notifications_pending_total", endpoint="ci") == 0


def test_events_are_added_up_by_kind(read):
    read(recorded=5, delivered=3, failures=2, statuses={200: 3, 503: 1}, lost=1)
    scrape = read(recorded=7, delivered=4, failures=4, statuses={200: 4, 503: 2, 799: 1}, buried=1, lost=1)
    events = "registry_notifications_events_total"
    expected = {"Events": 7, "Successes": 4, "Failures": 3, "Errors": 1, "Buried": 1, "Dropped": 0}
    assert {kind: scrape.total(events, type=kind, endpoint="ci") for kind in expected} == expected
    status = "registry_notifications_status_total"
    assert scrape.total(status, code="200 OK") == 4
    assert scrape.total(status, code="503 Service Unavailable") == 2
    assert scrape.total(status, code="799 ") == 1
    assert scrape.total("registry_notifications_lost_total") == 1
