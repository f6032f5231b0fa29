"""One of the replicas folds the recorded changes."""

from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.coordination import job_names
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.store import layout, summary_keys
from core.summaries.shards import shard_of
from entrypoints.jobs.folding import folding_job
from tests.support.counted_requests import CountedStorage
from tests.support.simulated_time import SimulatedTime
from tests.support.summaries import NAME, SummarizedStore

MINUTE = 60.0


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
def store(time):
    return SummarizedStore(CountedStorage(InMemoryBlobStorage(now=time.now)), time)


def make_job(store):
    time = store.time
    lease = Lease(
        store.storage, layout.lease(job_names.FOLDING), owner_id=lambda: "a", ttl=30, clock=time.clock, sleep=time.sleep
    )
    schedule = SharedSchedule(store.storage, lease, key=layout.job(job_names.FOLDING), interval=timedelta(minutes=1))
    return folding_job(store.folding, schedule, interval_seconds=MINUTE)


async def test_changes_are_folded_and_the_run_is_recorded(store, time):
    await store.tag("v1", await store.put_image())
    job = make_job(store)
    await time.advance(3 * MINUTE)
    await job.run()
    keys = [key async for key, _ in store.storage.walk(summary_keys.SUMMARIES)]
    assert keys == [
        summary_keys.REPOSITORY_TABLE,
        summary_keys.search_hints(shard_of(NAME)),
        summary_keys.tag_history(NAME),
        summary_keys.manifest_summaries(NAME),
    ]
    assert b'"records": 1' in await store.storage.read(layout.job(job_names.FOLDING))
    assert (job.every, job.is_upkeep) == (MINUTE, True)
    assert 0 <= job.delay() < MINUTE
