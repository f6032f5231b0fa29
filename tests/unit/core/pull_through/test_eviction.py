"""Eviction: what it removes and what stays, while clients push and pull, and when it is killed."""

import asyncio
from datetime import timedelta

import pytest

from core.collection.pins import Pins
from core.collection.recovery import DEAD_SECONDS
from core.errors import StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.pull_through.selection import Eviction
from core.pull_through.usage import CacheUsage
from core.store import layout
from tests.support.cached_store import CachedStore
from tests.support.collecting_services import SETTLE_SECONDS, is_complete, push_image
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME, OTHER, LOCAL = RepositoryName("hub/library/alpine"), RepositoryName("hub/library/debian"), RepositoryName("app")
EVERYTHING = Eviction(size_max=0)


@pytest.fixture
def cache() -> CachedStore:
    return CachedStore()


def named(*names: str) -> Eviction:
    return Eviction(named=lambda image: image.name in names)


async def content(cache: CachedStore) -> set[str]:
    """Return the keys of all content, in place or in the trash."""
    return await cache.keys(layout.BLOBS) | await cache.keys(layout.REPOSITORIES) | await cache.keys(layout.TRASH)


async def data(cache: CachedStore) -> set[str]:
    return {key.split("/")[-2] for key in await cache.keys(layout.BLOBS)}


def encoded(*contents: bytes) -> set[str]:
    return {Digest.of(each).encoded for each in contents}


async def test_image_goes_with_everything_and_its_space_is_free_at_once(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"config", [b"layer"], tags=["3", "latest"])
    report = await cache.evict(EVERYTHING)
    assert await content(cache) == set()
    assert cache.forgotten == [(NAME, "3"), (NAME, "latest")]
    assert cache.emptied == [NAME]
    [image] = report.images
    assert (image.name, image.tags) == (NAME, ("3", "latest"))
    assert (report.size, report.spared) == (0, 0)
    assert (
        report.size_before == report.bytes_removed == len(image_manifest(b"config", [b"layer"])) + len(b"configlayer")
    )
    assert await cache.keys(layout.COLLECTION_ROUNDS) == set()


async def test_blob_without_a_manifest_goes(cache: CachedStore) -> None:
    await cache.replica().push_blob(NAME, b"loose")
    await cache.evict(EVERYTHING)
    assert await content(cache) == set()
    assert cache.emptied == []


async def test_index_goes_with_its_platforms_referrers_and_history(cache: CachedStore) -> None:
    services = cache.replica()
    for config in (b"one", b"two"):
        await cache.fetch(NAME, config, tags=["multi"])
    index = image_index([image_manifest(b"one"), image_manifest(b"two")])
    await services.manifests.put(NAME, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    subject = descriptor(image_manifest(b"one"), media_types.OCI_MANIFEST)
    await push_image(services, NAME, b"sbom", subject=subject)
    await cache.evict(EVERYTHING)
    assert await content(cache) == set()


async def test_shared_content_of_kept_images_stays(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"old", [b"shared", b"old layer"], tags=["old"])
    await cache.time.advance(3600)
    new = await cache.fetch(NAME, b"new", [b"shared"], tags=["new"])
    other = await cache.fetch(OTHER, b"old", [b"old layer"])
    survey = await cache.survey()
    await cache.evict(Eviction(size_max=survey.size - 1))
    assert await is_complete(cache.replica(), NAME, new)
    assert await is_complete(cache.replica(), OTHER, other)
    links = await cache.keys(layout.layers(NAME))
    assert links == {layout.layer_link(NAME, Digest.of(each)) for each in (b"new", b"shared")}
    assert await data(cache) >= encoded(b"shared", b"old layer", b"old")


async def test_platform_that_a_kept_image_needs_stays(cache: CachedStore) -> None:
    one = await cache.fetch(NAME, b"one", tags=["amd64"])
    await cache.time.advance(3600)
    index = image_index([image_manifest(b"one")])
    await cache.replica().manifests.put(NAME, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    await cache.evict(Eviction(unused_since=cache.time.now() - timedelta(minutes=30)))
    assert cache.forgotten == [(NAME, "amd64")]
    assert await is_complete(cache.replica(), NAME, one)
    assert await is_complete(cache.replica(), NAME, Digest.of(index))


async def test_content_that_a_local_repository_links_stays(cache: CachedStore) -> None:
    services = cache.replica()
    await cache.fetch(NAME, b"config", [b"layer", b"other"])
    pushed = await push_image(services, LOCAL, b"local", [b"layer"], tags=["v1"])
    long = Digest.of(b"other", "sha512")
    await services.links.write(layout.layer_link(LOCAL, long), Digest.of(b"other"))
    report = await cache.evict(EVERYTHING)
    assert await is_complete(services, LOCAL, pushed)
    assert await data(cache) >= encoded(b"layer", b"other")
    assert not await data(cache) & encoded(b"config")
    assert await cache.keys(layout.repository(NAME)) == set()
    assert (report.size, report.bytes_removed) == (0, report.size_before - len(b"layerother"))


async def test_content_behind_links_that_cannot_be_read_stays(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"config", [b"1", b"2", b"3"])
    write = cache.replica().links.write
    first, second, third = (Digest.of(each) for each in (b"1", b"2", b"3"))
    await write(f"{layout.repository_path('Team/App')}/_layers/sha256/{first.encoded}/link", first)
    await write(f"{layout.repository_path('Team/App')}/_manifests/tags/v1/current/link", second)
    await cache.storage.write(f"{layout.repository_path('app')}/_manifests/tags/-odd-/current/link", b"torn")
    await cache.evict(EVERYTHING)
    assert await data(cache) == encoded(b"1", b"2")
    assert third.encoded not in await data(cache)


async def test_nothing_goes_while_the_cache_is_within_its_limits(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"config")
    before = await content(cache)
    report = await cache.evict(Eviction(size_max=10**6))
    assert await content(cache) == before
    assert (report.images, report.size, report.bytes_removed) == ((), report.size_before, 0)
    measurement = await CacheUsage(cache.storage).measurement()
    assert measurement
    assert (measurement.size, measurement.images) == (report.size, 1)


async def test_kept_image_stays(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"config", tags=["3.20"])
    keeps = {"keeps": lambda image: "3.20" in image.tags}
    assert (await cache.evict(EVERYTHING, **keeps)).images == ()
    assert len((await cache.evict(named(NAME), **keeps)).images) == 1


async def test_plan_removes_nothing(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"config")
    before = await cache.keys()
    report = await cache.evictor().plan(EVERYTHING)
    assert [image.name for image in report.images] == [NAME]
    assert (report.is_dry_run, report.size) == (True, report.size_before)
    assert {key for key in await cache.keys() if layout.CONTROL not in key} == {
        key for key in before if layout.CONTROL not in key
    }


async def test_offline_eviction_does_not_wait_and_drops_pins(cache: CachedStore) -> None:
    digest = await cache.fetch(NAME, b"config")
    await Pins(cache.storage).write([digest])
    await cache.finish(cache.evictor(is_offline=True).evict(EVERYTHING), seconds=0.1, step=0.1)
    assert await content(cache) == set()


async def test_pulls_do_not_protect_cached_content(cache: CachedStore) -> None:
    """A replica protects for hours what clients have read, but nobody can push to a cached repository."""
    services = cache.replica()
    digest = await cache.fetch(NAME, b"config", [b"layer"])
    await services.manifests.get(NAME, Tag("latest"))
    await services.blobs.stat(NAME, Digest.of(b"config"))
    await services.read_blob(NAME, Digest.of(b"layer"))
    work = asyncio.ensure_future(cache.evictor().evict(EVERYTHING))
    await cache.time.advance(SETTLE_SECONDS / 2)
    await services.guard.poll()
    await services.manifests.get(NAME, digest)
    await cache.finish(work)
    assert await content(cache) == set()
    assert await cache.keys(layout.PINS) == set()


async def test_image_that_is_pulled_during_the_settle_time_stays(cache: CachedStore) -> None:
    pulled = await cache.fetch(NAME, b"pulled", [b"shared"], tags=["pulled"])
    await cache.fetch(NAME, b"gone", [b"shared"], tags=["gone"])
    work = asyncio.ensure_future(cache.evictor().evict(EVERYTHING))
    await cache.time.advance(SETTLE_SECONDS / 2)
    await cache.pull(NAME, pulled)
    report = await cache.finish(work)
    assert report.spared == 1
    assert cache.forgotten == [(NAME, "gone")]
    assert await is_complete(cache.replica(), NAME, pulled)
    assert not await data(cache) & encoded(b"gone")


async def test_tag_that_was_fetched_again_stays(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"old", [b"shared"])
    work = asyncio.ensure_future(cache.evictor().evict(EVERYTHING))
    await cache.time.advance(SETTLE_SECONDS / 2)
    new = await cache.fetch(NAME, b"new", [b"shared"])
    await cache.finish(work)
    assert await cache.replica().manifests.resolve(NAME, Tag("latest")) == new
    assert await is_complete(cache.replica(), NAME, new)
    assert not await data(cache) & encoded(b"old")


async def test_image_that_is_fetched_between_the_surveys_stays(cache: CachedStore) -> None:
    await cache.fetch(NAME, b"old", [b"shared"], tags=["old"])
    work = asyncio.ensure_future(cache.evictor().evict(EVERYTHING))
    for _ in range(40):
        await asyncio.sleep(0)
    new = await cache.fetch(NAME, b"new", [b"shared"], tags=["new"])
    await cache.finish(work)
    assert await is_complete(cache.replica(), NAME, new)


@pytest.mark.parametrize("seconds", [1, SETTLE_SECONDS - 1, SETTLE_SECONDS + 1])
async def test_layer_that_a_push_mounts_stays(cache: CachedStore, seconds: float) -> None:
    services = cache.replica()
    await cache.fetch(NAME, b"config", [b"layer"])
    await services.guard.poll()
    work = asyncio.ensure_future(cache.evictor().evict(EVERYTHING))
    await cache.time.advance(seconds)
    mounted = await cache.finish(services.blobs.mount(LOCAL, Digest.of(b"layer"), source=None), seconds=120, step=1)
    await cache.finish(work)
    if mounted:
        assert await services.read_blob(LOCAL, Digest.of(b"layer")) == b"layer"
        assert seconds < SETTLE_SECONDS
    assert await cache.keys(layout.manifests(NAME)) == set()


async def test_eviction_while_garbage_is_collected(cache: CachedStore) -> None:
    services = cache.replica()
    await cache.fetch(NAME, b"config", [b"shared", b"cached"])
    gone = await push_image(services, LOCAL, b"gone", [b"shared"], tags=["gone"])
    kept = await push_image(services, LOCAL, b"kept", [b"cached"], tags=["kept"])
    await services.manifests.delete(LOCAL, gone)
    await cache.time.advance(7200)
    collecting = asyncio.ensure_future(cache.collector(keep=timedelta(0)).run())
    await cache.finish(cache.evictor().evict(EVERYTHING))
    await cache.finish(collecting)
    assert await is_complete(services, LOCAL, kept)
    # Whichever came first saw the link of the other; the next run removes the layer.
    await cache.time.advance(7200)
    await cache.collect(keep=timedelta(0))
    assert await data(cache) == encoded(b"kept", b"cached", image_manifest(b"kept", [b"cached"]))


async def test_old_pins_are_removed(cache: CachedStore) -> None:
    old, young = Digest.of(b"old"), Digest.of(b"young")
    pins = Pins(cache.storage)
    await pins.write([old])
    await cache.time.advance(25 * 3600)
    await cache.fetch(NAME, b"config")
    await pins.write([young])
    await cache.evict(EVERYTHING)
    assert (await pins.all()).keys() == {young}


async def count_mutations() -> int:
    cache = CachedStore()
    await fill(cache)
    storage = FaultyBlobStorage(cache.storage)
    await cache.finish(cache.evictor(storage).evict(named(NAME)))
    return len(storage.mutations)


async def fill(cache: CachedStore) -> Digest:
    await cache.fetch(NAME, b"config", [b"shared", b"layer"], tags=["1", "2"])
    await cache.fetch(NAME, b"other config", [b"shared"], tags=["2"])
    kept = await cache.fetch(OTHER, b"kept", [b"shared"])
    await cache.time.advance(DEAD_SECONDS)
    return kept


async def test_eviction_killed_anywhere_is_completed_by_the_next_one() -> None:
    mutations = await count_mutations()
    assert mutations > 15
    for number in range(mutations):
        cache = CachedStore()
        kept = await fill(cache)
        storage = FaultyBlobStorage(cache.storage)
        storage.stop_after(number)
        with pytest.raises(StorageUnavailableError):
            await cache.finish(cache.evictor(storage).evict(named(NAME)))
        await cache.time.advance(DEAD_SECONDS * 2)
        await cache.evict(named(NAME))
        services = cache.replica()
        assert await is_complete(services, OTHER, kept), number
        assert await cache.keys(layout.repository(NAME)) == set(), number
        assert await data(cache) == encoded(b"kept", b"shared", image_manifest(b"kept", [b"shared"])), number
        assert await cache.keys(layout.COLLECTION_ROUNDS) == set(), number
        # If the process was killed after its round, the expiry of the trash removes the rest within an hour or two.
        await cache.time.advance(2 * 3600)
        await cache.trash().expire()
        assert await cache.keys(layout.TRASH) == set(), number


async def test_collector_that_finds_the_round_of_a_killed_eviction_keeps_nothing_of_it() -> None:
    cache = CachedStore()
    await fill(cache)
    storage = FaultyBlobStorage(cache.storage)
    storage.stop_after(await count_mutations() - 4)
    with pytest.raises(StorageUnavailableError):
        await cache.finish(cache.evictor(storage).evict(named(NAME)))
    await cache.time.advance(24 * 3600)
    await cache.collect()
    assert [key for key in await cache.keys(layout.TRASH) if "eviction" in key] == []
