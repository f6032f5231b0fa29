"""Metrics of storage use, and the jobs that read and make measurements."""

from datetime import UTC, datetime

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.usage.measurement import Amount, CollectableUsage, Measurement, StoreUsage
from core.usage.records import UsageRecords
from entrypoints.jobs.usage import usage_metrics_job
from entrypoints.observability.usage import usage_observer
from tests.support.metrics import Scrape

AT = datetime(2026, 11, 29, 20, tzinfo=UTC)


def read(metrics):
    return Scrape(metrics.render("")[0].decode())


async def test_metrics_show_the_last_measurement(metrics):
    storage = InMemoryBlobStorage(now=lambda: AT)
    job = usage_metrics_job(UsageRecords(storage), usage_observer(metrics))
    await job.run()
    assert "registry_storage_bytes{" not in metrics.render("")[0].decode()
    garbage = CollectableUsage(
        manifests=1, blobs=Amount(count=2, size=30), grace_seconds=3600.0, deletes_untagged=False
    )
    usage = StoreUsage(measured_at=AT, seconds=1.0, blobs=Amount(count=9, size=100), collectable=garbage)
    await UsageRecords(storage).save(Measurement(store=usage, repositories=[]))
    await job.run()
    scrape = read(metrics)
    assert scrape.total("registry_storage_bytes", kind="blobs") == 100
    assert scrape.total("registry_storage_objects", kind="blobs") == 9
    assert scrape.total("registry_storage_bytes", kind="collectable") == 30
    assert scrape.total("registry_storage_measured_timestamp_seconds") == AT.timestamp()
