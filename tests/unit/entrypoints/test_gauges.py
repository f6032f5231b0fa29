"""Metrics of the read-only mode and of abandoned uploads."""

from core.registry.abandoned_uploads import Purged
from entrypoints.observability.gauges import purge_observer, read_only_reader
from tests.support.metrics import Scrape


def read(metrics):
    return Scrape(metrics.render("")[0].decode())


def test_read_only_mode_is_measured(metrics):
    modes = iter([True, False])
    tell = read_only_reader(metrics, lambda: next(modes))
    for expected in (1, 0):
        tell()
        assert read(metrics).total("registry_read_only") == expected


def test_abandoned_uploads_are_counted(metrics):
    observe = purge_observer(metrics, now=lambda: 1e9)
    assert read(metrics).total("registry_uploads_purged_total") == 0
    observe(Purged(sessions=["a", "b"], unfinished=["c"]))
    observe(Purged(sessions=["d"]))
    scrape = read(metrics)
    assert scrape.total("registry_uploads_purged_total", kind="session") == 3
    assert scrape.total("registry_uploads_purged_total", kind="multipart") == 1
    assert scrape.total("registry_uploads_purge_last_success_timestamp_seconds") == 1e9
