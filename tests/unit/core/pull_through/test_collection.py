"""Garbage collection in repositories whose content comes on demand, before and while they are pulled."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from adapters.upstream.memory import InMemoryUpstream
from core.model import media_types
from core.model.digest import Digest
from core.model.freshness import CacheOutcome
from core.model.manifest import StoredManifest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import ObjectStat
from core.ports.staging import StagingStorage
from core.store import layout
from core.typing import override
from tests.support.cached_services import NAME, REMOTE, CachedServices, add_image
from tests.support.collecting_services import SETTLE_SECONDS, Store, push_image
from tests.support.content import image_index
from tests.support.core_services import in_turn
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.simulated_time import SimulatedTime

TAG = Tag("3.20")
LOCAL = RepositoryName("team/app")
GRACE = timedelta(hours=2).total_seconds()


@pytest.fixture
def store(time: SimulatedTime) -> Store:
    return Store(time)


@pytest.fixture
def cache(store: Store, upstream: InMemoryUpstream) -> CachedServices:
    return cached(store, upstream, store.storage)


def cached(store: Store, upstream: InMemoryUpstream, storage: StagingStorage) -> CachedServices:
    core = {
        "rounds_storage": storage,
        "sleep": store.time.sleep,
        "settle_seconds": SETTLE_SECONDS,
        "cache": InMemoryDescriptorCache(now=store.time.now),
        "offload": in_turn,
    }
    return CachedServices(store.time, upstream, storage=storage, core=core)


@pytest.mark.parametrize("untagged", [False, True])
async def test_absent_blobs_do_not_stop_a_collection(
    cache: CachedServices, store: Store, upstream: InMemoryUpstream, *, untagged: bool
):
    image, other = add_image(upstream, layer=b"layer"), add_image(upstream, layer=b"other layer")
    index = upstream.add_manifest(REMOTE, image_index([image, other]), media_types.OCI_INDEX, "3.20")
    alone = add_image(upstream, layer=b"alone")
    await cache.manifests.get(NAME, TAG)
    for content in (image, alone):
        await cache.manifests.get(NAME, Digest.of(content))
    for content in (b"layer", b"blob without a manifest"):
        await cache.push_blob(NAME, content)
    cache.time.pass_seconds(GRACE)
    report = await store.collect(deletes_untagged=untagged)
    assert list(report.problems) == []
    kept = {index, Digest.of(image)} if untagged else {index, Digest.of(image), Digest.of(alone)}
    assert await store.keys(layout.revisions(NAME)) == {layout.revision_link(NAME, digest) for digest in kept}
    assert await store.keys(layout.layers(NAME)) == {layout.layer_link(NAME, Digest.of(b"layer"))}
    assert await store.keys(layout.upstream(NAME)) == {layout.upstream_tag(NAME, TAG)}
    process = cache.restarted()
    cache.upstream.asked.clear()
    for reference in (TAG, Digest.of(image)):
        await process.manifests.get(NAME, reference)
    assert cache.upstream.asked == {"resolve": 1}


async def test_moved_tag_leaves_its_old_image_to_a_collection(
    cache: CachedServices, store: Store, upstream: InMemoryUpstream
):
    old = Digest.of(add_image(upstream, "3.20", layer=b"old"))
    await cache.manifests.get(NAME, TAG)
    await cache.push_blob(NAME, b"old")
    new = Digest.of(add_image(upstream, "3.20", layer=b"new"))
    cache.time.pass_seconds(GRACE)
    await cache.manifests.get(NAME, TAG)
    cache.time.pass_seconds(GRACE)
    await store.collect(deletes_untagged=True)
    assert await store.keys(layout.revisions(NAME)) == {layout.revision_link(NAME, new)}
    assert layout.blob_data(Digest.of(b"old")) not in await store.keys(layout.BLOBS)
    fetched = await cache.restarted().manifests.get(NAME, old)
    assert fetched.freshness is not None
    assert fetched.freshness.outcome is CacheOutcome.MISS


class SlowStorage(FaultyBlobStorage):
    """Lets other tasks run before most operations, and shows when a round of collection looks for new content."""

    def __init__(self, inner: StagingStorage, seed: int) -> None:
        super().__init__(inner, seed=seed, delay_rate=0.6)
        self.looks_again = asyncio.Event()

    @override
    async def walk_within(self, prefix: str, directory: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        self.looks_again.set()
        async for found in super().walk_within(prefix, directory):
            yield found


@pytest.mark.parametrize("seed", range(100))
async def test_collection_takes_nothing_that_is_stored_meanwhile(store: Store, upstream: InMemoryUpstream, seed: int):
    """The upstream's image shares its blobs with a deleted local image, which is being removed."""
    order = random.Random(seed)
    slow = SlowStorage(store.storage, seed)
    cache = cached(store, upstream, slow)
    content = add_image(upstream, "3.20", layer=b"shared")
    other = store.services()
    garbage = await push_image(other, LOCAL, b"{}", [b"shared"], tags=["v1"], annotations={"of": "local"})
    await other.manifests.delete(LOCAL, garbage)
    store.time.pass_seconds(GRACE)

    async def pull() -> StoredManifest:
        await slow.looks_again.wait()
        for _ in range(order.randrange(40)):
            await asyncio.sleep(0)
        return await cache.manifests.get(NAME, TAG)

    pulling = asyncio.ensure_future(pull())
    await store.finish(store.collector(storage=slow).run())
    manifest = await store.finish(pulling)
    assert manifest.content == content
    keys = await store.keys()
    assert layout.revision_link(NAME, manifest.digest) in keys
    assert layout.blob_data(manifest.digest) in keys
    for blob in (b"{}", b"shared"):
        if layout.layer_link(NAME, Digest.of(blob)) in keys:
            assert await cache.read_blob(NAME, Digest.of(blob)) == blob
    cache.upstream.asked.clear()
    for reference in (TAG, manifest.digest):
        assert (await cache.restarted().manifests.get(NAME, reference)).content == content
    assert cache.upstream.asked["manifest"] == 0
