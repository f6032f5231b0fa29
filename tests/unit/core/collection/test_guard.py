"""A serving process protects content that a round condemns, in simulated time."""

import asyncio
import logging
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from core.collection import guard
from core.collection.guard import Need
from core.collection.pins import Pins
from core.collection.rounds import Batches, Rounds
from core.errors import (
    BlobUnknownError,
    ManifestBlobUnknownError,
    ManifestUnknownError,
    StorageCorruptError,
    StorageUnavailableError,
)
from core.model.digest import Digest
from core.model.media_types import OCI_INDEX, OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.store.manifest_cache import ManifestCache
from core.trash.entry import TrashKind
from core.trash.store import Trash
from tests.support.content import image_index, image_manifest
from tests.support.core_services import CoreServices, chunks, counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME, OTHER = RepositoryName("a/b"), RepositoryName("other")
LAYER = b"layer"
BLOB = Digest.of(LAYER)
CONFIG = b"{}"
MANIFEST = image_manifest(CONFIG, [LAYER])
IMAGE = Digest.of(MANIFEST)
ROUND = "20261124T000000Z-collection-1"


class ScriptedRounds(Rounds):
    """Rounds whose reading has an effect that a test chooses."""

    before_listing = None
    """Called before each listing of the rounds."""
    before_reading = None
    """Called with the identifier of a round before its digests are read."""

    async def states(self):
        if self.before_listing is not None:
            await self.before_listing()
        return await super().states()

    async def read(self, round_id):
        if self.before_reading is not None:
            await self.before_reading(round_id)
        return await super().read(round_id)


async def build(time, cache):
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now))
    built = CoreServices(
        storage=storage,
        rounds_storage=storage,
        rounds=ScriptedRounds(storage),
        clock=time.clock,
        sleep=time.sleep,
        cache=cache,
        memory=ManifestCache(),
    )
    await built.push_blob(NAME, LAYER)
    await built.push_blob(NAME, CONFIG)
    await built.manifests.put(NAME, MANIFEST, OCI_MANIFEST, tags=[Tag("x")])
    storage.operations.clear()
    return built


@pytest.fixture
async def services(time):
    return await build(time, InMemoryDescriptorCache(now=time.now))


@pytest.fixture
def rounds(services):
    return Rounds(services.storage.inner)


async def condemn(rounds, *digests, first=0, last=0, settle_seconds=60.0):
    await rounds.begin(ROUND, dict.fromkeys(digests, Batches(first, last)), settle_seconds=settle_seconds)


async def pinned(services):
    return {key.removeprefix(f"{layout.PINS}/") for key in await services.keys(layout.PINS)}


def spelled(*digests):
    return {f"{digest.algorithm}/{digest.encoded}" for digest in digests}


async def take(services, time, *digests):
    """Remove blobs as a round does."""
    trash = Trash(services.storage.inner, now=time.now, new_id=counting_ids(), keep=timedelta(0))
    entry = trash.new_entry(TrashKind.COLLECTION)
    await trash.record(entry, blobs=digests)
    for digest in digests:
        await services.storage.inner.delete([layout.layer_link(NAME, digest)])
        assert await trash.move_blob(digest, entry)


async def push_again(services):
    """Push a manifest whose blobs were pushed or mounted before."""
    await services.manifests.put(NAME, MANIFEST, OCI_MANIFEST, tags=[Tag("again")])


async def test_without_a_round_a_push_costs_no_extra_request(services):
    await services.guard.rely_on(BLOB)
    await services.guard.poll()
    services.storage.operations.clear()
    await push_again(services)
    await services.blobs.stat(NAME, BLOB)
    assert not [operation for operation in services.storage.operations if "_control" in operation]


async def test_idle_process_lists_no_rounds(services, time):
    await time.advance(7 * 3600)
    services.storage.operations.clear()
    await services.guard.poll()
    assert services.storage.operations == []


async def test_old_view_is_renewed_before_it_is_relied_on(services, rounds, time):
    await condemn(rounds, BLOB)
    await time.advance(31)
    await push_again(services)
    assert await pinned(services) == spelled(BLOB)


async def test_push_spares_what_a_round_condemned(services, rounds):
    await condemn(rounds, BLOB, IMAGE)
    await services.guard.poll()
    await push_again(services)
    assert await pinned(services) >= spelled(BLOB, IMAGE)


async def test_upload_and_mount_spare_what_a_round_condemned(services, rounds, time):
    await condemn(rounds, BLOB)
    await time.advance(31)
    await services.push_blob(OTHER, LAYER)
    assert await pinned(services) == spelled(BLOB)
    await services.storage.inner.delete_tree(layout.PINS)
    assert await services.blobs.mount(OTHER, BLOB, source=NAME)
    assert await pinned(services) == spelled(BLOB)


async def test_condemned_blob_is_spared_before_the_answer(services, rounds, time):
    await condemn(rounds, BLOB)
    await time.advance(31)
    assert (await services.blobs.stat(NAME, BLOB)).size == len(LAYER)
    assert await pinned(services) == spelled(BLOB)


async def test_answer_about_a_blob_waits_for_the_batch_of_the_blob(services, rounds, time):
    await condemn(rounds, BLOB)
    await rounds.enter(ROUND, 0)
    await time.advance(31)
    asked = asyncio.create_task(services.blobs.stat(NAME, BLOB))
    await time.advance(2)
    assert not asked.done()
    assert await pinned(services) == spelled(BLOB)
    await take(services, time, BLOB)
    await rounds.end(ROUND)
    await time.advance(1)
    with pytest.raises(BlobUnknownError):
        await asked


async def test_answer_about_a_manifest_rescues_its_references(services, rounds, time):
    await condemn(rounds, BLOB, IMAGE)
    await rounds.enter(ROUND, 0)
    await time.advance(31)
    asked = asyncio.create_task(services.manifests.get(NAME, Tag("x")))
    await time.advance(2)
    assert not asked.done()
    await take(services, time, BLOB)
    await rounds.end(ROUND)
    await time.advance(1)
    assert (await asked).content == MANIFEST
    assert await services.read_blob(NAME, BLOB) == LAYER


async def test_answer_about_a_damaged_manifest_rescues_nothing(services, rounds, time):
    await condemn(rounds, IMAGE)
    await services.storage.inner.write(layout.blob_data(IMAGE), b"damaged")
    await time.advance(31)
    with pytest.raises(StorageCorruptError):
        await CoreServices(storage=services.storage.inner, rounds_storage=services.storage.inner).manifests.get(
            NAME, IMAGE
        )


async def test_condemned_manifest_of_another_repository_adds_no_links(services, rounds, time):
    """A client that may read one repository gets no layers of another one by asking for its manifest."""
    await condemn(rounds, BLOB, IMAGE)
    await time.advance(31)
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(OTHER, IMAGE)
    assert await services.keys(layout.repository(OTHER)) == set()
    with pytest.raises(BlobUnknownError):
        await services.read_blob(OTHER, BLOB)


async def test_blob_of_a_later_or_an_earlier_batch_is_answered(services, rounds, time):
    await condemn(rounds, BLOB, first=1, last=2)
    for batch in (0, 3):
        await rounds.enter(ROUND, batch)
        await time.advance(31)
        assert (await services.blobs.stat(NAME, BLOB)).size == len(LAYER)


async def test_touched_digests_are_spared(services, rounds, time):
    """Recently confirmed blobs are spared, and so are the references of a manifest that was read."""
    await services.manifests.get(NAME, Tag("x"))
    unknown = Digest.of(b"nobody asked for this")
    await condemn(rounds, BLOB, unknown)
    await services.guard.poll()
    assert await pinned(services) == spelled(BLOB)


async def test_touches_expire(services, rounds, time):
    await services.guard.rely_on(BLOB)
    await time.advance(6 * 3600 + 1)
    await services.guard.rely_on(Digest.of(CONFIG))
    await condemn(rounds, BLOB)
    await time.advance(31)
    await services.guard.poll()
    assert await pinned(services) == set()


async def test_push_waits_for_the_batch_and_restores_its_content(services, rounds, time):
    await condemn(rounds, BLOB, IMAGE, first=0, last=5)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    push = asyncio.create_task(push_again(services))
    await time.advance(2)
    assert not push.done()
    assert await pinned(services) == spelled(BLOB, IMAGE)
    await take(services, time, BLOB)
    await rounds.enter(ROUND, 1)
    await time.advance(1)
    await push
    assert await services.read_blob(NAME, BLOB) == LAYER


async def test_push_waits_for_the_end_of_the_round(services, rounds, time):
    await condemn(rounds, BLOB)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    push = asyncio.create_task(push_again(services))
    await time.advance(2)
    assert not push.done()
    await rounds.end(ROUND)
    await time.advance(1)
    await push


async def test_push_of_a_lost_blob_is_refused(services, rounds, time):
    """The client pushes the layer again; no tag is left that cannot be pulled, and no manifest without layers."""
    await services.manifests.delete(NAME, IMAGE)
    await condemn(rounds, BLOB)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    push = asyncio.create_task(push_again(services))
    await time.advance(2)
    await services.storage.inner.delete([layout.blob_data(BLOB)])
    await rounds.end(ROUND)
    await time.advance(1)
    with pytest.raises(ManifestBlobUnknownError):
        await push
    assert await services.keys(layout.revisions(NAME)) == set()


async def test_refused_push_leaves_a_manifest_that_is_tagged(services, rounds, time):
    await services.storage.inner.delete([layout.blob_data(BLOB)])
    await condemn(rounds, BLOB)
    await services.guard.poll()
    await services.cache.put(NAME, BLOB, len(LAYER))
    with pytest.raises(ManifestBlobUnknownError):
        await push_again(services)
    assert (await services.manifests.get(NAME, Tag("x"))).content == MANIFEST


async def test_push_of_an_index_whose_image_is_lost_names_the_image_alone(services, rounds, time):
    """The references of the image are unknown; the client pushes the image again with all of them."""
    await condemn(rounds, IMAGE)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    index = image_index([MANIFEST])
    push = asyncio.create_task(services.manifests.put(NAME, index, OCI_INDEX, tags=[Tag("multi")]))
    await time.advance(2)
    assert not push.done()
    await services.storage.inner.delete([layout.revision_link(NAME, IMAGE), layout.blob_data(IMAGE)])
    await rounds.end(ROUND)
    await time.advance(1)
    with pytest.raises(ManifestBlobUnknownError) as refused:
        await push
    assert refused.value.digests == (IMAGE,)
    assert await services.keys(layout.revisions(NAME)) == set()
    assert not await services.tag_links.pointing_at(NAME, Digest.of(index))


async def test_upload_of_a_lost_blob_can_be_repeated(services, rounds, time):
    await condemn(rounds, BLOB)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    push = asyncio.create_task(services.push_blob(OTHER, LAYER))
    await time.advance(2)
    await services.storage.inner.delete([layout.blob_data(BLOB)])
    await rounds.end(ROUND)
    await time.advance(1)
    with pytest.raises(StorageUnavailableError):
        await push


async def test_mount_of_a_lost_blob_falls_back_to_an_upload(services, rounds, time):
    await condemn(rounds, BLOB)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    mount = asyncio.create_task(services.blobs.mount(OTHER, BLOB, source=NAME))
    await time.advance(2)
    await services.storage.inner.delete([layout.blob_data(BLOB)])
    await rounds.end(ROUND)
    await time.advance(1)
    assert await mount is None


async def test_dead_collector_is_not_waited_for(services, rounds, time):
    await condemn(rounds, BLOB, IMAGE)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    await time.advance(31)
    await services.guard.poll()
    push = asyncio.create_task(push_again(services))
    await time.advance(0)
    assert push.done()
    await push


async def test_push_waits_ten_seconds_at_most_for_a_collector_that_died(services, rounds, time):
    await condemn(rounds, BLOB, IMAGE)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    # The last sign of life comes after the last look, so that the push sees a round that has just moved.
    await rounds.write_heartbeat(ROUND, 1)
    await time.advance(14)
    push = asyncio.create_task(push_again(services))
    await time.advance(8)
    assert not push.done()
    await time.advance(2)
    assert push.done()
    await push


async def test_push_waits_a_minute_at_most_for_a_living_collector(services, rounds, time):
    await condemn(rounds, BLOB)
    await rounds.enter(ROUND, 0)
    await services.guard.poll()
    push = asyncio.create_task(push_again(services))
    for count in range(19):
        await rounds.write_heartbeat(ROUND, count)
        await time.advance(3)
    assert not push.done()
    await time.advance(4)
    assert push.done()
    await push


async def test_suspended_process_checks_again_before_it_answers(services, time):
    """A whole round began and ended between the checks of the push and its answer."""
    ticket = await services.guard.ticket()
    await take(services, time, BLOB)
    await time.advance(61)
    needed = layout.layer_link(NAME, BLOB)
    assert await services.guard.confirm(ticket, [Need(needed, BLOB)]) == ()
    assert await services.read_blob(NAME, BLOB) == LAYER
    await time.advance(61)
    await services.storage.inner.delete([layout.blob_data(BLOB)])
    assert await services.guard.confirm(ticket, [Need(needed, BLOB)]) == [BLOB]


async def test_round_that_ends_while_it_is_read_makes_a_push_check_again(services, rounds, time):
    ticket = await services.guard.ticket()
    await condemn(rounds, BLOB)
    await time.advance(31)
    services.rounds.before_reading = rounds.end
    await services.storage.inner.delete([layout.blob_data(BLOB)])
    assert await services.guard.confirm(ticket, [Need(layout.layer_link(NAME, BLOB), BLOB)]) == [BLOB]


async def test_push_fails_on_a_store_that_is_too_slow(services, time):
    services.rounds.before_listing = lambda: time.sleep(100)
    await time.advance(31)
    pushing = asyncio.create_task(push_again(services))
    for _ in range(10):
        await time.advance(100)
    with pytest.raises(StorageUnavailableError):
        await pushing


async def test_cached_descriptor_of_a_condemned_blob_is_forgotten(services, rounds):
    await services.cache.put(OTHER, BLOB, len(LAYER))
    await condemn(rounds, BLOB)
    await services.guard.poll()
    assert await services.cache.get(OTHER, BLOB) is None
    await services.blobs.stat(NAME, BLOB)
    assert await services.cache.get(NAME, BLOB) is None


async def test_round_found_during_a_cache_write_wins(time):
    class SlowCache(InMemoryDescriptorCache):
        condemns = False

        async def put(self, name, digest, size):
            if self.condemns:
                await condemn(Rounds(built.storage.inner), BLOB)
                await built.guard.poll()
            await super().put(name, digest, size)

    cache = SlowCache(now=time.now)
    built = await build(time, cache)
    await cache.forget(NAME, BLOB)
    cache.condemns = True
    await built.guard.remember(NAME, BLOB, 5)
    assert await cache.get(NAME, BLOB) is None


async def test_cache_is_not_used_after_a_suspension(services, time):
    await services.cache.put(NAME, BLOB, 999)
    assert (await services.blobs.stat(NAME, BLOB)).size == 999
    await time.advance(61)
    await services.cache.put(NAME, BLOB, 999)
    assert (await services.blobs.stat(NAME, BLOB)).size == len(LAYER)


async def test_collector_that_waits_too_little_is_logged(services, rounds, caplog):
    await condemn(rounds, BLOB, settle_seconds=5.0)
    with caplog.at_level(logging.ERROR):
        await services.guard.poll()
    assert "settletime" in caplog.text


async def test_round_that_cannot_be_read_stops_the_push(services, rounds):
    await services.storage.inner.write(layout.collection_round_digests(ROUND), b"60\nnonsense 1 2")
    with pytest.raises(StorageCorruptError):
        await services.guard.poll()


async def test_round_is_forgotten_some_time_after_its_end(services, rounds, time):
    await condemn(rounds, BLOB)
    await services.guard.poll()
    await rounds.end(ROUND)
    await services.guard.remember(NAME, BLOB, 5)
    assert await services.cache.get(NAME, BLOB) is None
    for _ in range(12):
        await time.advance(55)
        await services.guard.poll()
    await services.guard.remember(NAME, BLOB, 5)
    assert await services.cache.get(NAME, BLOB) == 5
    await services.storage.inner.delete_tree(layout.PINS)
    await services.uploads.put(NAME, BLOB, chunks(LAYER))
    assert await pinned(services) == set()


async def test_touches_are_bounded(services, rounds, monkeypatch):
    """Only the digests that were touched last are pinned."""
    monkeypatch.setattr(guard, "_TOUCHES_MAX", 50)
    touched = [Digest(f"sha256:{number:064x}") for number in range(60)]
    for digest in touched:
        services.guard.touch(digest)
    await condemn(rounds, touched[9], touched[10])
    await services.guard.poll()
    found = await pinned(services)
    assert spelled(touched[10]) <= found
    assert not spelled(touched[9]) & found


async def test_pulls_continue_when_only_listings_fail(services, time, caplog):
    """They list again now and then, and use no cache until then; pushes are refused."""
    await time.advance(31)
    asked = []

    async def fail():
        asked.append(time.clock())
        raise StorageUnavailableError("listings fail")

    services.rounds.before_listing = fail
    await services.cache.put(NAME, BLOB, 999)
    for _ in range(5):
        assert (await services.manifests.get(NAME, Tag("x"))).content == MANIFEST
        assert (await services.blobs.stat(NAME, BLOB)).size == len(LAYER)
    assert len(asked) == 1
    assert "cannot read garbage-collection state" in caplog.text
    with pytest.raises(StorageUnavailableError):
        await push_again(services)
    await time.advance(16)
    await services.manifests.get(NAME, Tag("x"))
    assert len(asked) == 3


async def test_content_of_renewable_repositories_is_not_pinned(time):
    """Nobody can push to a cached repository, so a client that reads there needs no protection."""
    storage = InMemoryBlobStorage(now=time.now)
    services = CoreServices(
        storage=storage,
        rounds_storage=storage,
        clock=time.clock,
        sleep=time.sleep,
        is_renewable=lambda name: name == NAME,
    )
    for content in (LAYER, CONFIG):
        await services.push_blob(NAME, content)
    await push_again(services)
    await services.manifests.get(NAME, IMAGE)
    await services.blobs.stat(NAME, BLOB)
    await services.read_blob(NAME, BLOB)
    rounds = Rounds(services.storage)
    await condemn(rounds, BLOB, IMAGE)
    await services.guard.poll()
    await services.manifests.get(NAME, IMAGE)
    assert await services.guard.recall(NAME, BLOB) is None
    assert await Pins(services.storage).all() == {}
    services.guard.touch(BLOB, OTHER)
    assert await services.guard.rely_on(BLOB, OTHER)
    assert (await Pins(services.storage).all()).keys() == {BLOB}
