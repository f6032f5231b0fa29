"""One of the replicas permanently removes expired trash."""

import logging
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.model.names import RepositoryName
from core.store import layout
from entrypoints.jobs.trash_expiry import expiry_job
from tests.support.core_services import CoreServices
from tests.support.simulated_time import SimulatedTime

NAME = RepositoryName("a")
HOUR = 3600.0


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
def services(time):
    return CoreServices(storage=InMemoryBlobStorage(now=time.now), clock=time.clock)


def make_job(services, time):
    lease = Lease(
        services.storage, layout.lease("trash"), owner_id=lambda: "a", ttl=30, clock=time.clock, sleep=time.sleep
    )
    schedule = SharedSchedule(services.storage, lease, key=layout.job("trash"), interval=timedelta(hours=1))
    return expiry_job(services.trash_service, schedule, HOUR)


async def test_expired_entry_is_removed_and_logged(services, time, caplog):
    job = make_job(services, time)
    digest = await services.push_blob(NAME, b"layer")
    await services.blobs.unlink(NAME, digest)
    with caplog.at_level(logging.INFO):
        await job.run()
        assert await services.keys(layout.TRASH_ENTRIES)
        assert "expired trash removed" not in caplog.text
        await time.advance(8 * 24 * HOUR)
        await job.run()
    assert not await services.keys(layout.TRASH_ENTRIES)
    assert "expired trash removed" in caplog.text
    assert b'"entries": 1' in await services.storage.read(layout.job("trash"))


async def test_replicas_search_at_different_moments(services, time):
    job = make_job(services, time)
    delays = {job.delay() for _ in range(20)}
    assert len(delays) > 10
    assert all(0 <= delay <= HOUR for delay in delays)
    assert job.every == HOUR
