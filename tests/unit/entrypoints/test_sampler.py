"""Values that are sampled once a second."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from config.settings import ReadinessSettings
from entrypoints.observability import sampler as module
from entrypoints.observability.gauges import catalog_reader, certificate_gauge, health_reader, set_build_info
from entrypoints.observability.health import Check, CheckFailedError, Health
from entrypoints.observability.readiness import Readiness
from entrypoints.observability.sampler import Sampler
from tests.support.metrics import Scrape


@pytest.fixture
def read(metrics):
    return lambda: Scrape(metrics.render("")[0].decode())


def test_worker_is_measured(metrics, read):
    sampler = Sampler(metrics, worker=2)
    sampler.sample()
    before = read()
    assert before.total("registry_workers") == 1
    assert before.total("registry_worker_starts_total", worker="2") == 1
    assert abs(before.total("registry_worker_start_time_seconds", worker="2") - time.time()) < 60
    assert 1e6 < before.total("registry_worker_resident_memory_bytes", worker="2") < 1e11
    assert 3 <= before.total("registry_worker_open_fds", worker="2") <= before.total("registry_worker_max_fds")
    sum(range(2_000_000))
    sampler.sample()
    spent = "registry_worker_cpu_seconds_total"
    assert 0 < before.total(spent) < read().total(spent) <= time.process_time()


async def test_blocked_event_loop_is_measured(metrics, read, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_SECONDS", 0.02)
    context = Sampler(metrics, worker=0).running(web.Application())
    await anext(context)
    await asyncio.sleep(0.001)
    time.sleep(0.3)  # noqa: ASYNC251 - blocking is the point
    async with asyncio.timeout(60):
        while not read().total("registry_event_loop_lag_seconds_count"):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    with pytest.raises(StopAsyncIteration):
        await anext(context)
    assert 0.2 < read().total("registry_event_loop_lag_seconds_sum") < 5


def test_failing_reader_is_logged_once_and_stops_no_other(metrics, caplog):
    sampler = Sampler(metrics, worker=0)
    read = []

    def fail():
        raise OSError("gone")

    sampler.register(fail)
    sampler.register(lambda: read.append(1))
    for _ in range(3):
        sampler.sample()
    assert len(read) == 3
    assert caplog.text.count("metric sampling failed") == 1


class Catalog:
    """The attributes of a catalog that the reader uses."""

    trouble, pending, forgotten = "", 0, 0


def test_lag_of_the_catalog_is_measured(metrics, read):
    now = [100.0]
    catalog: Any = Catalog()
    look = catalog_reader(metrics, catalog, lambda: now[0])
    look()
    assert read().total("registry_catalog_index_up") == 1
    catalog.trouble, catalog.pending = "the index does not respond", 3
    look()
    now[0] = 130.0
    look()
    scrape = read()
    assert scrape.total("registry_catalog_index_up") == 0
    assert scrape.total("registry_catalog_pending_names") == 3
    assert scrape.total("registry_catalog_lag_seconds") == 30
    catalog.pending = 0
    look()
    assert read().total("registry_catalog_lag_seconds") == 0


async def test_health_and_readiness_are_measured(metrics, read):
    async def fail():
        raise CheckFailedError("no")

    async def succeed():
        return

    health = Health(
        [Check(name="good", run=succeed, interval_seconds=0.001), Check(name="bad", run=fail, interval_seconds=0.001)]
    )
    readiness = Readiness(ReadinessSettings(), is_draining=lambda: False, is_blocked=lambda: health.is_blocking)
    look = health_reader(metrics, health, readiness)
    look()
    assert read().total("registry_ready") == 1
    context = health.running(web.Application())
    await anext(context)
    async with asyncio.timeout(60):
        while not health.failures:  # noqa: ASYNC110 - checks have no event
            await asyncio.sleep(0.001)
    look()
    with pytest.raises(StopAsyncIteration):
        await anext(context)
    scrape = read()
    assert scrape.values("registry_health_check_up") == {(("check", "good"),): 1, (("check", "bad"),): 0}
    assert scrape.total("registry_ready") == 0


def test_build_and_certificate_are_measured(metrics, read):
    set_build_info(metrics)
    certificate_gauge(metrics)(datetime(2027, 1, 1, tzinfo=UTC))
    scrape = read()
    assert scrape.total("registry_build_info") == 1
    assert scrape.total("registry_tls_certificate_expiry_timestamp_seconds") == 1798761600
