"""Background jobs of the application."""

import asyncio
import logging
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from config.settings import UploadPurgingSettings
from core.coordination.budget import Budget, Rates
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.errors import StorageUnavailableError
from core.model.names import RepositoryName
from core.store import layout
from core.store.clock import StoreClock
from entrypoints.jobs.background import Job
from entrypoints.jobs.purging import purge_job
from entrypoints.jobs.shared import LOOK_SECONDS
from tests.support.core_services import CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.simulated_time import SimulatedTime

NAME = RepositoryName("a")
HOUR = 3600.0


@pytest.mark.parametrize("error", [StorageUnavailableError("down"), ValueError("a defect")])
async def test_failing_job_is_retried_until_it_succeeds(start, caplog, error):
    runs, finished, ran_twice = [], [], asyncio.Event()

    async def run():
        runs.append(1)
        if len(runs) == 2:
            ran_twice.set()
        raise error

    async def finish():
        finished.append(1)

    await start(jobs=[Job(name="upkeep", run=run, every=0.01, finish=finish)])
    await asyncio.wait_for(ran_twice.wait(), 60)
    assert "upkeep" in caplog.text
    assert not finished


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
def services(time):
    return CoreServices(storage=FaultyBlobStorage(InMemoryBlobStorage(now=time.now)))


def make_job(services, time, owner_id="a", **changes):
    settings = UploadPurgingSettings(**changes)
    lease = Lease(
        services.storage, layout.lease("purge"), owner_id=lambda: owner_id, ttl=30, clock=time.clock, sleep=time.sleep
    )
    interval = timedelta(seconds=settings.interval_seconds)
    budget = Budget(Rates(), clock=time.clock, sleep=time.sleep)
    schedule = SharedSchedule(services.storage, lease, key=layout.job("purge"), interval=interval)
    return purge_job(services.storage, StoreClock(services.storage, clock=time.clock), schedule, settings, budget)


async def test_abandoned_upload_is_removed_and_logged(services, time, caplog):
    state = await services.uploads.start(NAME)
    job = make_job(services, time)
    with caplog.at_level(logging.INFO):
        await job.run()
        assert await services.uploads.status(NAME, state.upload_id)
        await time.advance(169 * HOUR)
        await job.run()
    assert not await services.keys(layout.REPOSITORIES)
    assert any(state.upload_id in getattr(record, "session", "") for record in caplog.records)
    assert b'"sessions": 1' in await services.storage.read(layout.job("purge"))


async def test_dry_run_logs_and_removes_nothing(services, time, caplog):
    state = await services.uploads.start(NAME)
    await time.advance(169 * HOUR)
    with caplog.at_level(logging.INFO):
        await make_job(services, time, dry_run=True).run()
    assert await services.uploads.status(NAME, state.upload_id)
    named = [record for record in caplog.records if state.upload_id in getattr(record, "session", "")]
    assert [record.removed for record in named] == [False]


async def test_one_of_the_replicas_searches(services, time):
    jobs = [make_job(services, time, owner_id) for owner_id in "abc"]
    for _ in range(25):
        for job in jobs:
            await job.run()
        await time.advance(HOUR)
    walks = [operation for operation in services.storage.operations if operation.startswith("walk_within")]
    assert len(walks) == 2


async def test_replicas_search_at_different_moments():
    job = make_job(CoreServices(), SimulatedTime())
    delays = {job.delay() for _ in range(20)}
    assert len(delays) > 10
    assert all(0 <= delay <= LOOK_SECONDS for delay in delays)
    assert job.every == LOOK_SECONDS
