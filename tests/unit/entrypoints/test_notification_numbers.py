"""Notifications as metrics: distribution's names, and counters that never fall."""

import pytest

from adapters.metrics.prometheus import PrometheusMetrics
from core.notifications.notifier import NotificationStats
from core.notifications.stats import EndpointCounts
from entrypoints.observability.notification_numbers import NotificationsReader
from tests.support.metrics import Scrape


@pytest.fixture
def counts():
    return EndpointCounts()


@pytest.fixture
def scrape(counts, tmp_path):
    metrics = PrometheusMetrics(tmp_path, lambda: 0)
    lost = [0]

    def stats():
        return NotificationStats(is_delivering=True, lost=lost[0], endpoints=[counts.snapshot("hook")])

    reader = NotificationsReader(metrics, stats)

    def read():
        reader()
        content, _ = metrics.render("text/plain")
        return Scrape(content.decode())

    return read


def test_distributions_names(scrape, counts):
    counts.recorded, counts.delivered, counts.failures = 9, 5, 3
    counts.statuses.update({200: 5, 500: 2, 599: 0})
    counts.queued, counts.lag_seconds, counts.dead, counts.is_down = 4, 7.5, 2, True
    scraped = scrape()
    for kind, value in (("Events", 9), ("Successes", 5), ("Failures", 2), ("Errors", 1)):
        assert scraped.total("registry_notifications_events_total", type=kind, endpoint="hook") == value
    assert scraped.total("registry_notifications_status_total", code="200 OK") == 5
    assert scraped.total("registry_notifications_pending_total", endpoint="hook") == 4
    assert scraped.total("registry_notifications_lag_seconds") == 7.5
    assert scraped.total("registry_notifications_dead_letters") == 2
    assert scraped.total("registry_notifications_endpoint_down") == 1


def test_counters_grow_by_what_is_new(scrape, counts):
    counts.recorded = 3
    scrape()
    counts.recorded = 5
    scrape()
    assert scrape().total("registry_notifications_events_total", type="Events") == 5


def test_endpoint_that_comes_back_counts_on(scrape, counts):
    counts.recorded = 3
    scrape()
    counts.recorded = 1
    assert scrape().total("registry_notifications_events_total", type="Events") == 4
