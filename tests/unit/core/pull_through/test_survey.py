"""The images of the cache, with their sizes and last uses."""

import pytest

from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from tests.support.cached_store import CachedStore
from tests.support.content import descriptor, image_index, image_manifest

NAME = RepositoryName("hub/library/alpine")


@pytest.fixture
def cache() -> CachedStore:
    return CachedStore()


async def test_empty_cache_has_no_images(cache: CachedStore) -> None:
    survey = await cache.survey()
    assert (survey.images, survey.size) == ([], 0)


async def test_image_has_its_tags_content_and_size(cache: CachedStore) -> None:
    digest = await cache.fetch(NAME, b"config", [b"layer"], tags=["latest", "3"])
    await cache.fetch("local/app", b"local", tags=["v1"])
    survey = await cache.survey()
    [image] = survey.images
    assert (image.name, image.digest, image.tags) == (NAME, digest, ("3", "latest"))
    assert image.manifests == {digest}
    assert image.blobs == {Digest.of(b"config"), Digest.of(b"layer")}
    assert survey.size == survey.size_of(image) == len(image_manifest(b"config", [b"layer"])) + len(b"configlayer")


async def test_index_is_one_image_with_its_platforms_and_referrers(cache: CachedStore) -> None:
    services = cache.replica()
    one = await cache.fetch(NAME, b"one", tags=[])
    manifest = image_manifest(b"one")
    index = image_index([manifest, manifest, image_manifest(b"not cached")])
    await services.storage.write(layout.blob_data(Digest.of(index)), index)
    await services.links.write(layout.revision_link(NAME, Digest.of(index)), Digest.of(index))
    await services.tag_links.point(NAME, Tag("multi"), Digest.of(index))
    sbom = image_manifest(b"sbom", subject=descriptor(manifest, media_types.OCI_MANIFEST))
    await services.push_blob(NAME, b"sbom")
    await services.manifests.put(NAME, sbom, media_types.OCI_MANIFEST)
    [image] = (await cache.survey()).images
    assert (image.digest, image.tags) == (Digest.of(index), ("multi",))
    assert image.manifests == {Digest.of(index), one, Digest.of(sbom)}
    assert image.blobs == {Digest.of(b"one"), Digest.of(b"sbom")}


async def test_platform_with_a_tag_is_an_image_too(cache: CachedStore) -> None:
    one = await cache.fetch(NAME, b"one", tags=["amd64"])
    index = image_index([image_manifest(b"one")])
    await cache.replica().manifests.put(NAME, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    images = {image.digest: image for image in (await cache.survey()).images}
    assert images.keys() == {one, Digest.of(index)}
    assert images[one].manifests < images[Digest.of(index)].manifests


async def test_blob_that_no_cached_manifest_needs_counts_alone(cache: CachedStore) -> None:
    digest = await cache.replica().push_blob(NAME, b"loose")
    [image] = (await cache.survey()).images
    assert (image.digest, image.manifests, image.blobs) == (digest, frozenset(), frozenset({digest}))


async def test_tag_without_a_manifest_is_no_image(cache: CachedStore) -> None:
    services = cache.replica()
    await services.tag_links.point(NAME, Tag("lost"), Digest.of(b"lost"))
    await services.storage.write(layout.tag_current_link(NAME, Tag("torn")), b"")
    assert (await cache.survey()).images == []


async def test_last_use_is_the_last_pull_or_the_fetch(cache: CachedStore) -> None:
    pulled, unpulled = [await cache.fetch(NAME, each, tags=[each.decode()]) for each in (b"one", b"two")]
    fetched_at = cache.time.now()
    await cache.time.advance(3600)
    await cache.pull(NAME, pulled)
    images = {image.digest: image for image in (await cache.survey()).images}
    assert images[pulled].last_used == cache.time.now()
    assert images[unpulled].last_used == images[unpulled].fetched_at == fetched_at
