"""A measurement of storage use on an in-memory store."""

from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.collection.listing import Lister
from core.collection.run import CollectionOptions
from core.coordination.budget import Budget, Rates
from core.coordination.paced_store import PacedStore
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import DiskSpace
from core.store import layout, summary_keys
from core.store.clock import StoreClock
from core.store.damage import DamageRecords
from core.store.links import Links
from core.trash.entry import TrashKind
from core.usage.measurement import Amount, RepositoryUsage
from core.usage.measuring import MeterContext, UsageMeter
from tests.support.collecting_services import Store, push_image
from tests.support.content import image_manifest
from tests.support.faulty_blob_storage import FaultyBlobStorage

A, B, CACHED = RepositoryName("a"), RepositoryName("team/b"), RepositoryName("hub/c")
GRACE = timedelta(hours=1)
WEEK = timedelta(days=7)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def services(store):
    return store.services()


class OnDisk(InMemoryBlobStorage):
    async def space(self):
        return DiskSpace(total=10, free=4)


async def measure(store, *, options=None, is_cached=lambda _name: False, storage=None):
    async def plan(dry):
        untagged = dry.deletes_untagged
        return await store.collector(grace=dry.grace, deletes_untagged=untagged, is_dry_run=dry.is_dry_run).run()

    seen = storage or store.storage
    paced = PacedStore(seen, Budget(Rates(), clock=store.time.clock, sleep=store.time.sleep))

    async def pause(_seconds):
        return

    meter = UsageMeter(
        paced,
        Lister(paced, Links(seen)),
        trash=store.trash(keep=WEEK),
        store_clock=StoreClock(seen),
        context=MeterContext(
            clock=store.time.clock, sleep=pause, salt=12345677, is_cached=is_cached, options=options, plan=plan
        ),
    )
    return await store.finish(meter.measure())


def size_of(*contents):
    return sum(map(len, contents))


async def test_an_empty_store_uses_nothing(store):
    measurement = await measure(store)
    assert measurement.repositories == []
    assert measurement.store.blobs == measurement.store.trash.blobs == measurement.store.uploads == Amount()
    assert (measurement.store.collectable, measurement.store.disk) == (None, None)
    assert "collectable" not in measurement.as_json()


async def test_shared_content_is_counted_apart_from_own_content(store, services):
    await push_image(services, A, b"{}", [b"shared", b"only in a"], tags=["v1"])
    await push_image(services, B, b"{}", [b"shared"], tags=["v1", "v2"])
    measurement = await measure(store)
    of_a, of_b = image_manifest(b"{}", [b"shared", b"only in a"]), image_manifest(b"{}", [b"shared"])
    shared = size_of(b"{}", b"shared")
    assert measurement.repositories == [
        RepositoryUsage(name=A, blobs=4, own=size_of(of_a, b"only in a"), shared=shared),
        RepositoryUsage(name=B, blobs=3, own=size_of(of_b), shared=shared),
    ]
    assert measurement.repositories[1].size == size_of(of_b) + shared
    assert measurement.store.repositories == 2
    assert measurement.store.blobs == Amount(count=5, size=size_of(of_a, of_b, b"only in a") + shared)
    assert measurement.store.unlinked == measurement.store.cached == Amount()
    assert measurement.as_json(repositories=True)["byRepository"][1] == {
        "name": "team/b",
        "blobs": 3,
        "ownBytes": size_of(of_b),
        "sharedBytes": shared,
    }


async def test_a_manifest_that_was_pushed_as_a_blob_too_counts_once(store, services):
    manifest = image_manifest(b"{}", [b"x"])
    await push_image(services, A, b"{}", [b"x"], tags=["v1"])
    await push_image(services, B, b"{}", [b"x"], tags=["v1"])
    await services.push_blob(A, manifest)
    by_name = {each.name: each for each in (await measure(store)).repositories}
    assert by_name[A].size == by_name[B].size == size_of(manifest, b"{}", b"x")
    assert by_name[A].blobs == by_name[B].blobs == 3


async def test_content_without_links_and_links_without_content(store, services):
    await store.storage.write(layout.blob_data(Digest.of(b"stray")), b"stray")
    gone, missing = Digest.of(b"gone"), Digest.of(b"missing")
    await store.storage.write(layout.layer_link(A, gone), gone.encode())
    await store.storage.write(layout.revision_link(A, missing), missing.encode())
    measurement = await measure(store)
    assert measurement.store.unlinked == measurement.store.blobs == Amount(count=1, size=5)
    assert measurement.repositories == []


async def test_cached_content_is_that_which_no_local_repository_links(store, services):
    await push_image(services, CACHED, b"{}", [b"shared", b"cached"], tags=["v1"])
    await push_image(services, A, b"{}", [b"shared"], tags=["v1"])
    measurement = await measure(store, is_cached=lambda name: name == CACHED)
    cached = size_of(b"cached", image_manifest(b"{}", [b"shared", b"cached"]))
    assert measurement.store.cached == Amount(count=2, size=cached)


@pytest.mark.parametrize("deletes_untagged", [True, False])
async def test_the_effect_of_a_collection_is_that_of_the_collector(store, services, deletes_untagged):
    await push_image(services, A, b"{}", [b"kept"], tags=["v1"])
    untagged = await push_image(services, A, b'{"a":1}', [b"untagged"])
    gone = await push_image(services, A, b'{"b":1}', [b"gone"], tags=["gone"])
    await services.manifests.delete(A, gone)
    await store.time.advance(2 * 3600)
    options = CollectionOptions(grace=GRACE, deletes_untagged=deletes_untagged)
    found = (await measure(store, options=options)).store.collectable
    assert (found.grace_seconds, found.deletes_untagged) == (3600, deletes_untagged)
    assert await store.storage.read(layout.revision_link(A, untagged))
    report = await store.collect(deletes_untagged=deletes_untagged)
    assert found.manifests == report.manifests_removed == (1 if deletes_untagged else 0)
    assert found.blobs == Amount(count=report.blobs_removed, size=report.bytes_removed)
    assert found.as_json()["bytes"] == report.bytes_removed


async def test_an_empty_trash_has_no_expiry(store):
    assert (await measure(store)).store.trash.as_json() == {"entries": 0, "count": 0, "bytes": 0}


async def test_the_trash_is_measured_with_its_expiry(store, services):
    for number in range(2):
        config = b'{"n":%d}' % number
        digest = await push_image(services, A, config, [], tags=["v1"])
        await services.manifests.delete(A, digest)
        await store.time.advance(2 * 3600)
        await store.collect()
    digest = await push_image(services, A, b"{}", [], tags=["v1"])
    quarantined = store.trash()
    entry = quarantined.new_entry(TrashKind.QUARANTINE)
    await quarantined.record(entry, blobs=[digest])
    await quarantined.quarantine_blob(digest, entry)
    before = await measure(store)
    trash = before.store.trash
    assert trash.entries == 5
    assert trash.blobs.count == 4
    assert before.store.quarantined == Amount(count=1, size=size_of(image_manifest(b"{}", [])))
    written = [stat.modified_at async for _, stat in store.storage.walk(layout.TRASH_ENTRIES)]
    assert (trash.next_expiry, trash.last_expiry) == (min(written) + WEEK, max(written) + WEEK)
    assert trash.as_json()["nextExpiry"] < trash.as_json()["lastExpiry"]


async def test_requests_do_not_depend_on_the_number_of_blobs(store, services):
    """On an object store, each listing costs one request per 1,000 objects."""
    counts = []
    for number in range(4):
        counted = FaultyBlobStorage(store.storage)
        await measure(store, storage=counted)
        counts.append(len(counted.operations))
        await push_image(services, A, b'{"n":%d}' % number, [b"%d" % number], tags=[f"v{number}"])
    # The first look at the clock of the store writes its record.
    assert len(set(counts[1:])) == 1, counts


async def test_uploads_copies_damage_and_records_are_measured(store, services):
    upload = await services.uploads.start(A)
    await store.storage.write(layout.upload_data(A, upload.upload_id), b"12345")
    await store.storage.write(f"{layout.REPOSITORIES}/Bad/_uploads/x/startedat", b"")
    await store.storage.write(layout.transfer_data("id", Digest.of(b"x")), b"123")
    await store.storage.write(summary_keys.change("id"), b"1234567")
    await services.push_blob(A, b"damaged")
    damaged = Digest.of(b"damaged")
    records = DamageRecords(store.storage)
    for digest in (damaged, Digest.of(b"gone")):
        await records.write(digest, await store.storage.stat(layout.blob_data(damaged)))
    usage = (await measure(store)).store
    started = await store.storage.stat(layout.upload_started_at(A, upload.upload_id))
    assert usage.uploads == Amount(count=1, size=5 + started.size)
    assert usage.transfers == Amount(count=1, size=3)
    assert usage.damaged == Amount(count=1, size=7)
    assert usage.records.count >= 3


async def test_the_disk_is_included_if_the_store_has_one(store):
    measurement = await measure(store, storage=OnDisk(now=store.time.now))
    assert measurement.as_json()["disk"] == {"bytes": 10, "freeBytes": 4}
