"""The store is verified while requests are served, by one process at a time."""

import asyncio
import json
import logging
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.metrics.prometheus import SingleProcessMetrics
from core.collection.guard import SETTLE_SECONDS
from core.collection.rounds import Rounds
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from core.verification.announcement import QuarantineAnnouncements
from core.verification.rules import VerificationOptions
from entrypoints.jobs.shared import LOOK_SECONDS
from entrypoints.jobs.verifying import verification_job
from entrypoints.observability.jobs import VerificationObserver
from tests.support.core_services import CoreServices
from tests.support.metrics import Scrape
from tests.support.simulated_time import SimulatedTime
from tests.support.verifications import Verifications

NAME = RepositoryName("a")
DAY = 86400.0


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
async def verifications(time):
    services = CoreServices(storage=InMemoryBlobStorage(now=time.now))
    digest = await services.push_blob(NAME, b"content")
    await services.storage.write(layout.blob_data(digest), b"damaged")
    return Verifications(services)


def make_job(verifications, time, owner_id="a", *, repair=False, observer=None):
    storage = verifications.services.storage
    options = VerificationOptions(repair=repair, settle_seconds=0)
    lease = Lease(
        storage, layout.lease(options.job), owner_id=lambda: owner_id, ttl=30, clock=time.clock, sleep=time.sleep
    )
    key = layout.job(options.job)
    return verification_job(
        verifications.verifier,
        make_announcements(verifications, time),
        SharedSchedule(storage, lease, key=key, interval=timedelta(seconds=DAY)),
        options=options,
        interval_seconds=DAY,
        observer=observer,
    )


def make_announcements(verifications, time, **options):
    rounds = Rounds(verifications.services.storage)
    return QuarantineAnnouncements(
        rounds, clock=time.clock, sleep=time.sleep, new_id=verifications.services.new_id, **options
    )


async def test_findings_and_sum_are_logged(verifications, time, caplog):
    caplog.set_level(logging.INFO)
    await make_job(verifications, time).run()
    [finding] = [record for record in caplog.records if hasattr(record, "finding")]
    assert finding.levelname == "ERROR"
    assert finding.finding["kind"] == "corrupt-data"
    [summary] = [record for record in caplog.records if record.message == "verification finished"]
    assert (summary.levelname, summary.damage, summary.left) == ("WARNING", 1, 1)
    report = json.loads(await verifications.services.storage.read(layout.job("verification-full")))
    assert report["damage"] == 1


async def test_verification_is_measured(verifications, time):
    metrics = SingleProcessMetrics()
    await make_job(verifications, time, observer=VerificationObserver(metrics, now=lambda: 1e9)).run()
    scrape = Scrape(metrics.render("")[0].decode())
    assert scrape.total("registry_verification_damage") == 1
    assert scrape.total("registry_verification_last_success_timestamp_seconds") == 1e9


async def test_verification_runs_once_per_interval(verifications, time, caplog):
    caplog.set_level(logging.INFO)
    for owner in ("a", "b"):
        await make_job(verifications, time, owner).run()
    assert caplog.text.count("verification finished") == 1
    await time.advance(DAY)
    await make_job(verifications, time, "b").run()
    assert caplog.text.count("verification finished") == 2


def test_repairs_wait_while_the_registry_is_read_only(verifications, time):
    assert make_job(verifications, time, repair=True).is_upkeep
    job = make_job(verifications, time)
    assert not job.is_upkeep
    assert job.every == LOOK_SECONDS
    assert 0 <= job.delay() <= LOOK_SECONDS


async def test_announcement_stays_until_all_processes_have_seen_it(verifications, time):
    announcements = make_announcements(verifications, time)
    rounds = Rounds(verifications.services.storage)
    await announcements.finish()
    digest = Digest.of(b"content")
    await announcements.announce([digest])
    [round_id] = await rounds.states()
    read = await rounds.read(round_id)
    assert read
    condemned, digests = read
    assert digests == [digest]
    assert condemned.get(digest) is not None
    finishing = asyncio.ensure_future(announcements.finish())
    await time.advance(SETTLE_SECONDS - 1)
    assert len(await rounds.states()) == 1
    await time.advance(2)
    await finishing
    assert await rounds.states() == {}


async def test_nothing_is_announced_without_a_cache(verifications, time):
    announcements = make_announcements(verifications, time, is_needed=False)
    await announcements.announce([Digest.of(b"content")])
    assert await Rounds(verifications.services.storage).states() == {}
