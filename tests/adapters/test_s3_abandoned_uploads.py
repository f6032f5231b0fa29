"""The requests of a search for abandoned uploads, after which no multipart upload is left."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from adapters.blob_storage.s3.names import entries_within
from core.coordination.budget import Budget, Rates
from core.model.names import RepositoryName
from core.registry.abandoned_uploads import remove_abandoned
from core.store import layout
from tests.adapters.test_s3_listing import PlainStore
from tests.support.scs_server.store import Segment, StoredObject
from tests.support.scs_storage import scs_storage
from tests.support.simulated_time import SimulatedTime
from tests.support.streams import collect, payload, stage

NAME = RepositoryName("team/image")
IDS = [f"00000000-0000-4000-8000-{number:012x}" for number in range(2_000)]
WEEK = timedelta(days=7)
NOW = datetime.now(UTC)
OLD = NOW - WEEK * 2


@asynccontextmanager
async def opened(server):
    async with scs_storage(server) as storage:
        yield storage


def put(server, key, modified_at=OLD):
    stored = StoredObject([Segment(b"x", 1)], "0" * 32, "application/octet-stream", modified_at)
    server.buckets["images"].put(key.lstrip("/"), stored)


def begin(server, key, begun_at=OLD):
    bucket = server.buckets["images"]
    upload_id = bucket.begin_upload(key.lstrip("/"), "application/octet-stream")
    bucket.uploads[upload_id].begun_at = begun_at


async def purge(storage):
    time = SimulatedTime()
    budget = Budget(Rates(), clock=time.clock, sleep=time.sleep)
    return await remove_abandoned(storage, before=NOW - WEEK, budget=budget)


def fill(server, *, repositories, links):
    for number in range(repositories):
        below = f"{layout.REPOSITORIES}/r{number:05}"
        for link in range(links):
            put(server, f"{below}/_layers/sha256/{link:064x}/link")
        put(server, f"{below}/_manifests/revisions/sha256/{0:064x}/link")


async def test_small_repositories_take_one_listing_for_a_thousand_objects(server):
    fill(server, repositories=500, links=9)
    put(server, layout.upload_started_at(RepositoryName("r00250"), IDS[0]), NOW)
    async with opened(server) as storage:
        assert (await purge(storage)).sessions == []
    # 5,001 objects, of which leaps save the last; and one request for the multipart uploads.
    assert server.counts == {"list_objects": 5, "list_uploads": 1}


async def test_large_repositories_take_one_listing_each(server):
    fill(server, repositories=3, links=5_000)
    async with opened(server) as storage:
        await purge(storage)
    assert server.counts["list_objects"] <= 4


async def test_young_sessions_are_not_read(server):
    fill(server, repositories=1, links=1)
    for upload_id in IDS[:400]:
        put(server, layout.upload_started_at(NAME, upload_id), NOW)
        put(server, layout.upload_data(NAME, upload_id), NOW)
    async with opened(server) as storage:
        await purge(storage)
    assert server.counts == {"list_objects": 1, "list_uploads": 1}


async def test_hundred_old_sessions_are_removed_in_few_requests(server):
    for upload_id in IDS[:100]:
        put(server, layout.upload_started_at(NAME, upload_id))
        put(server, layout.upload_data(NAME, upload_id))
    async with opened(server) as storage:
        assert len((await purge(storage)).sessions) == 100
    assert server.objects("images") == []
    assert sum(server.counts.values()) <= 6


async def test_multipart_uploads_without_a_session_are_aborted(server):
    """Killed before its record was written, killed in a copy, left by distribution; and one that goes on."""
    for key in (
        layout.upload_data(NAME, IDS[0]),
        layout.upload_data(NAME, IDS[1]),
        f"{layout.BLOBS}/sha256/aa/{'a' * 64}/data",
        layout.upload_data(NAME, IDS[2]),
    ):
        begin(server, key)
    begin(server, layout.upload_data(NAME, IDS[3]), NOW)
    put(server, layout.upload_started_at(NAME, IDS[1]))
    put(server, layout.upload_started_at(NAME, IDS[2]))
    put(server, f"{layout.upload_data(NAME, IDS[2])}.parts", NOW)
    put(server, f"{layout.ROOT}-of-others/data")
    begin(server, f"{layout.ROOT}-of-others/data")

    async with opened(server) as storage:
        await purge(storage)

    left = sorted(upload.key for upload in server.buckets["images"].uploads.values())
    assert left == sorted(
        key.lstrip("/")
        for key in (
            f"{layout.ROOT}-of-others/data",
            layout.upload_data(NAME, IDS[2]),
            layout.upload_data(NAME, IDS[3]),
        )
    )


async def test_uploads_with_a_record_are_removed_on_a_store_that_lists_none(server):
    server.lists_uploads = False
    async with opened(server) as storage:
        await stage(storage, layout.upload_data(NAME, IDS[0]), payload(30 * 1024 * 1024))
        assert server.buckets["images"].uploads
        for stored in server.buckets["images"].objects.values():
            stored.modified_at = OLD
        assert len((await purge(storage)).sessions) == 1
    assert server.leftovers() == []


@pytest.mark.parametrize("page_length", [1, 2, 3])
async def test_skipping_listing_misses_no_session(page_length):
    paths = ["a", "a-b", "a.b/c", "a/0", "a/b", "b", "c/d/e", "c"]
    children = ("_layers/1", "_layers/2", "_manifests/3", "_uploads/4/5", "_uploads/6", "_zoo/7", "_zoo/8")
    keys = [f"p/{path}/{child}" for path in paths for child in children]
    noise = ["p/_own/x/_uploads/1", "p/x", "q/a/_uploads/1", "p/a/_uploads", "p/a/_uploads-/x", "p/c/_uploads/"]
    store = PlainStore(*keys, *noise)
    store.page_length = page_length
    found = await collect(entries_within(store, "p/", "_uploads"))
    assert [entry["Key"] for entry in found] == sorted(
        f"p/{path}/{child}" for path in paths for child in children if child.startswith("_uploads")
    )
