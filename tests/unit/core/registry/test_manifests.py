import asyncio
import json

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import (
    DeniedError,
    DigestMismatchError,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ManifestTooLargeError,
    ManifestUnknownError,
    StorageCorruptError,
)
from core.model import media_types
from core.model.digest import Digest
from core.model.manifest import PUSHED_MANIFEST_BYTES_MAX
from core.model.names import RepositoryName, Tag
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from core.store.manifest_cache import ManifestCache
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.counted_requests import CountedStorage

NAME = RepositoryName("a/b")
LATEST = Tag("latest")
OCI = media_types.OCI_MANIFEST


@pytest.fixture
async def image(services):
    await services.push_blob(NAME, b"{}")
    await services.push_blob(NAME, b"layer")
    return image_manifest(b"{}", [b"layer"])


async def test_push_by_tag_writes_the_tree_of_distribution(services, image):
    pushed = await services.manifests.put(NAME, image, OCI, tags=[LATEST])
    digest = Digest.of(image)
    assert (pushed.digest, pushed.subject, list(pushed.tags)) == (digest, None, [LATEST])
    links = {
        layout.revision_link(NAME, digest),
        layout.tag_current_link(NAME, LATEST),
        layout.tag_index_link(NAME, LATEST, digest),
    }
    assert await services.keys(f"{layout.repository(NAME)}/_manifests") == links
    for link in links:
        assert await services.storage.read(link) == digest.encode()
    assert await services.storage.read(layout.blob_data(digest)) == image


async def test_manifest_is_served_by_tag_and_by_digest(services, image):
    await services.manifests.put(NAME, image, OCI, tags=[LATEST])
    for reference in (LATEST, Digest.of(image)):
        stored = await services.manifests.get(NAME, reference)
        assert (stored.content, stored.media_type, stored.digest) == (image, OCI, Digest.of(image))


async def test_push_by_digest_may_bring_tags(services, image):
    digest = Digest.of(image, "sha512")
    await services.manifests.put(NAME, image, OCI, digest=digest, tags=[Tag("a"), Tag("b")])
    assert (await services.manifests.get(NAME, Tag("b"))).digest == digest


async def test_push_under_another_digest_is_refused(services, image):
    with pytest.raises(DigestMismatchError):
        await services.manifests.put(NAME, image + b" ", OCI, digest=Digest.of(image))
    assert await services.keys(layout.revisions(NAME)) == set()


async def test_oversized_manifest_is_refused(services):
    with pytest.raises(ManifestTooLargeError) as caught:
        await services.manifests.put(NAME, b" " * (PUSHED_MANIFEST_BYTES_MAX + 1), OCI)
    assert caught.value.limit == PUSHED_MANIFEST_BYTES_MAX


async def test_missing_content_is_reported_once_each(services):
    content = image_manifest(b"{}", [b"one", b"one", b"two"])
    await services.push_blob(NAME, b"two")
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await services.manifests.put(NAME, content, OCI)
    assert caught.value.digests == (Digest.of(b"{}"), Digest.of(b"one"))


async def test_linked_blob_whose_data_is_gone_is_missing(services, image):
    await services.storage.delete([layout.blob_data(Digest.of(b"layer"))])
    with pytest.raises(ManifestBlobUnknownError) as caught:
        await services.manifests.put(NAME, image, OCI)
    assert caught.value.digests == (Digest.of(b"layer"),)


async def test_index_needs_its_children_in_the_repository(services, image):
    index = image_index([image])
    with pytest.raises(ManifestBlobUnknownError):
        await services.manifests.put(NAME, index, media_types.OCI_INDEX)
    await services.manifests.put(NAME, image, OCI)
    await services.manifests.put(NAME, index, media_types.OCI_INDEX, tags=[LATEST])
    assert (await services.manifests.get(NAME, LATEST)).media_type == media_types.OCI_INDEX


async def test_policy_may_allow_missing_content():
    services = CoreServices(policy=ManifestPolicy(requires_blobs=False, requires_child=lambda _child: False))
    image = image_manifest(b"{}", [b"layer"])
    await services.manifests.put(NAME, image, OCI)
    await services.manifests.put(NAME, image_index([image_manifest(b"other")]), media_types.OCI_INDEX)


async def test_layers_from_elsewhere_need_an_allowed_url():
    services = CoreServices(policy=ManifestPolicy(allows_url=lambda url: url.startswith("https://good/")))
    await services.push_blob(NAME, b"{}")

    def foreign(url):
        layer = descriptor(b"far away", min(media_types.NONDISTRIBUTABLE_LAYERS), urls=[url])
        return json.dumps(json.loads(image_manifest(b"{}")) | {"layers": [layer]}).encode()

    await services.manifests.put(NAME, foreign("https://good/x"), OCI)
    with pytest.raises(ManifestInvalidError, match="URL"):
        await services.manifests.put(NAME, foreign("https://bad/x"), OCI)


async def test_nondistributable_layer_without_url_may_be_missing(services):
    await services.push_blob(NAME, b"{}")
    layer = descriptor(b"far away", "application/vnd.oci.image.layer.nondistributable.v1.tar")
    content = json.dumps(json.loads(image_manifest(b"{}")) | {"layers": [layer]}).encode()
    await services.manifests.put(NAME, content, OCI)


async def test_unknown_manifest_is_unknown(services, image):
    for reference in (LATEST, Digest.of(image)):
        with pytest.raises(ManifestUnknownError):
            await services.manifests.get(NAME, reference)
        with pytest.raises(ManifestUnknownError):
            await services.manifests.delete(NAME, reference)


@pytest.mark.parametrize("lost", ["revision", "data"])
async def test_tag_without_its_manifest_is_unknown(services, image, lost):
    await services.manifests.put(NAME, image, OCI, tags=[LATEST])
    digest = Digest.of(image)
    await services.storage.delete(
        [layout.revision_link(NAME, digest) if lost == "revision" else layout.blob_data(digest)]
    )
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, LATEST)


async def test_damaged_manifest_is_not_served_and_healed_by_a_push(services, image):
    await services.manifests.put(NAME, image, OCI, tags=[LATEST])
    await services.storage.write(layout.blob_data(Digest.of(image)), image[:-1])
    with pytest.raises(StorageCorruptError, match="is damaged"):
        await services.manifests.get(NAME, LATEST)
    await services.manifests.put(NAME, image, OCI)
    assert (await services.manifests.get(NAME, LATEST)).content == image


async def test_damaged_manifest_can_be_deleted(services, image):
    digest = Digest.of(image)
    await services.manifests.put(NAME, image, OCI, tags=[LATEST])
    await services.storage.write(layout.blob_data(digest), image[:-1])
    assert await services.manifests.delete(NAME, digest) == {LATEST: digest}
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, digest)


async def test_stored_content_that_is_no_manifest_is_not_served(services):
    digest = Digest.of(b"text")
    await services.storage.write(layout.blob_data(digest), b"text")
    await services.links.write(layout.revision_link(NAME, digest), digest)
    with pytest.raises(StorageCorruptError, match="not a valid manifest and cannot be served"):
        await services.manifests.get(NAME, digest)
    await services.manifests.delete(NAME, digest)
    assert await services.keys(layout.revisions(NAME)) == set()


async def test_deleting_a_tag_keeps_everything_else(services, image):
    await services.manifests.put(NAME, image, OCI, tags=[Tag("1"), Tag("10"), Tag("1.2")])
    assert await services.manifests.delete(NAME, Tag("1")) == {Tag("1"): Digest.of(image)}
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, Tag("1"))
    for reference in (Tag("10"), Tag("1.2"), Digest.of(image)):
        assert (await services.manifests.get(NAME, reference)).content == image


@pytest.mark.parametrize("link", [b"", b"torn", None])
async def test_tag_that_cannot_be_read_can_be_deleted(services, image, link):
    """Otherwise the list of tags names it for ever."""
    tag = Tag("torn")
    await services.manifests.put(NAME, image, OCI, tags=[tag, Tag("torn2")])
    await services.storage.delete([layout.tag_current_link(NAME, tag)])
    if link is not None:
        await services.storage.write(layout.tag_current_link(NAME, tag), link)
    assert await services.manifests.delete(NAME, tag) == {tag: None}
    assert await services.tag_links.listed(NAME) == ["torn2"]
    [part] = [part async for part in services.trash.all_parts()]
    assert [each.key for each in part.links] == [layout.tag_index_link(NAME, tag, Digest.of(image))]
    with pytest.raises(ManifestUnknownError):
        await services.manifests.delete(NAME, tag)


async def test_deleting_a_manifest_removes_its_tags_and_keeps_layers(services, image):
    other = image_manifest(b"{}", [])
    await services.manifests.put(NAME, image, OCI, tags=[Tag("1"), Tag("2")])
    await services.manifests.put(NAME, other, OCI, tags=[Tag("3")])
    assert sorted(await services.manifests.delete(NAME, Digest.of(image))) == ["1", "2"]
    assert list((await services.tags.page(NAME, n=None, last="")).items) == ["3"]
    assert await services.read_blob(NAME, Digest.of(b"layer")) == b"layer"
    assert layout.blob_data(Digest.of(image)) in await services.keys()
    assert await services.keys(layout.revisions(NAME)) == {layout.revision_link(NAME, Digest.of(other))}


async def test_tag_pushed_while_its_manifest_is_deleted_is_removed(services, image, monkeypatch):
    """The delete looks for tags again after the manifest is gone."""
    await services.manifests.put(NAME, image, OCI)
    digest = Digest.of(image)
    delete = services.storage.delete

    async def push_in_between(keys):
        await services.tag_links.point(NAME, LATEST, digest)
        await delete(keys)

    monkeypatch.setattr(services.storage, "delete", push_in_between)
    assert await services.manifests.delete(NAME, digest) == {LATEST: digest}


async def test_push_during_a_delete_stands(services, image):
    """The manifest goes between the push's revision and its tag: the push, which ends later, writes it again."""
    point = services.tag_links.point

    async def delete_in_between(name, tag, digest):
        await services.links.delete(layout.revision_link(name, digest))
        await point(name, tag, digest)

    services.tag_links.point = delete_in_between
    await services.manifests.put(NAME, image, OCI, tags=[LATEST])
    assert (await services.manifests.get(NAME, LATEST)).content == image


async def test_manifest_in_memory_is_served_only_while_it_is_linked():
    services = CoreServices(memory=ManifestCache())
    await services.push_blob(NAME, b"{}")
    content = image_manifest()
    digest = Digest.of(content)
    await services.manifests.put(NAME, content, OCI, tags=[LATEST])
    await services.storage.delete([layout.blob_data(digest)])
    assert (await services.manifests.get(NAME, LATEST)).content == content
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(RepositoryName("elsewhere"), digest)
    await services.manifests.delete(NAME, digest)
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, digest)


async def test_manifest_of_an_immutable_tag_pushed_during_the_delete_stays(monkeypatch):
    """The tag was pushed after the delete looked for tags, and before it removed the manifest."""
    services = CoreServices(policy=ManifestPolicy(is_immutable=lambda _name, tag: tag == "kept"))
    await services.push_blob(NAME, b"{}")
    content = image_manifest()
    digest = Digest.of(content)
    await services.manifests.put(NAME, content, OCI)
    delete = services.storage.delete

    async def push_in_between(keys):
        await delete(keys)
        await services.tag_links.point(NAME, Tag("kept"), digest)

    monkeypatch.setattr(services.storage, "delete", push_in_between)
    with pytest.raises(DeniedError):
        await services.manifests.delete(NAME, digest)
    assert (await services.manifests.get(NAME, Tag("kept"))).content == content


async def test_pulls_of_a_tag_at_the_same_time_share_requests():
    storage = CountedStorage(InMemoryBlobStorage(now=lambda: NOW))
    services = CoreServices(storage=storage, memory=ManifestCache())
    await services.push_blob(NAME, b"{}")
    pushed = await services.manifests.put(NAME, image_manifest(), media_types.OCI_MANIFEST, tags=[Tag("v1")])
    storage.count()
    storage.delay_rate = 1.0
    pulled = await asyncio.gather(*(services.manifests.get(NAME, Tag("v1")) for _ in range(50)))
    assert {manifest.digest for manifest in pulled} == {pushed.digest}
    # The first caller's, and those that all others share: the tag and the revision.
    assert storage.count() == 4
