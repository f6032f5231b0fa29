"""Garbage is collected while requests are served, by one process at a time."""

import asyncio
import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from config.container import Observers, build_server, build_server_parts
from config.settings import GarbageCollectionSettings, Settings
from core.collection.run import GRACE_MIN
from core.coordination import job_names
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.store.tag_links import TagLinks
from entrypoints.jobs.collection import LOOK_SECONDS, collection_job, options_of, watch_job
from entrypoints.opening import opened

NAME = RepositoryName("a")


@pytest.fixture
def collecting():
    return GarbageCollectionSettings(enabled=True, grace_seconds=0, settle_seconds=2)


@pytest.fixture
async def application(collecting):
    settings = Settings()
    storage = replace(settings.storage, garbage_collection=collecting)
    built = build_server(build_server_parts(replace(settings, storage=storage)), Observers())
    async with opened(built):
        yield built


async def test_one_replica_collects_once_per_interval(application, collecting, caplog):
    seen = []
    await TagLinks(application.storage, application.links).point(NAME, Tag("phantom"), Digest.of(b"nothing"))
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            await collection_job(application, collecting, observe=lambda report: seen.append(report.phase)).run()
    assert caplog.text.count("garbage collected") == 1
    assert caplog.text.count("missing manifest") == 1
    assert seen[-1] == "done"
    done = json.loads(await application.storage.read(layout.job(job_names.COLLECTION)))
    assert (done["phase"], done["tags"], done["problem_count"]) == ("done", 1, 1)


async def test_blobs_that_stay_because_a_name_cannot_be_read_are_logged(application, collecting, caplog):
    storage = application.storage
    await storage.write(layout.blob_data(Digest.of(b"garbage")), b"garbage")
    await storage.write(f"{layout.repository_path('Team/app')}/_layers/x/link", b"")
    with caplog.at_level(logging.WARNING):
        # Younger data counts as needed.
        await asyncio.sleep(GRACE_MIN.total_seconds())
        await collection_job(application, collecting).run()
    [line] = [record for record in caplog.records if "blobs kept" in record.message]
    assert (line.names, line.blobs, line.bytes) == (1, 1, 7)


async def test_dry_run_is_logged_as_one(application, collecting, caplog):
    with caplog.at_level(logging.INFO):
        await collection_job(application, replace(collecting, dry_run=True)).run()
    assert "garbage would be removed" in caplog.text


async def test_job_checks_often_enough_for_requests_on_demand(application, collecting):
    job = collection_job(application, collecting)
    assert job.every == LOOK_SECONDS
    assert job.is_upkeep
    assert 0 <= job.delay() < LOOK_SECONDS
    assert collection_job(application, replace(collecting, interval_seconds=1.0)).every == 1.0


def test_options_come_from_the_configuration(collecting):
    options = options_of(replace(collecting, grace_seconds=60.0, deletes_untagged=True))
    assert (options.grace, options.deletes_untagged, options.settle_seconds) == (timedelta(minutes=1), True, 2)


async def test_rounds_are_watched_four_times_in_a_settle_time(application):
    job = watch_job(application.guard)
    assert job.every == 0.5
    await job.run()
