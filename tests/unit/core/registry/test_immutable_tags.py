"""Tags that keep the manifest they first pointed at, also when many push at once."""

import asyncio
import json

import pytest

from core.errors import BlobUnknownError, DeniedError, ManifestUnknownError
from core.model.digest import Digest
from core.model.media_types import OCI_INDEX, OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME, OTHER = RepositoryName("prod/app"), RepositoryName("dev/app")
V1, LATEST = Tag("v1"), Tag("latest")
POLICY = ManifestPolicy(
    requires_blobs=False, is_immutable=lambda name, tag: name.startswith("prod/") and tag.startswith("v")
)


def image(number):
    return json.dumps({**json.loads(image_manifest()), "annotations": {"n": str(number)}}).encode()


FIRST, SECOND = image(1), image(2)


@pytest.fixture
def services():
    return CoreServices(policy=POLICY)


async def push(services, content, *tags, name=NAME, by_digest=False):
    digest = Digest.of(content) if by_digest else None
    return (await services.manifests.put(name, content, OCI_MANIFEST, digest=digest, tags=tags)).digest


async def test_same_manifest_may_be_pushed_again(services):
    digest = await push(services, FIRST, V1)
    assert await push(services, FIRST, V1) == digest
    assert await services.manifests.resolve(NAME, V1) == digest
    assert await services.tag_links.pointing_at(NAME, digest) == [V1]


async def test_another_manifest_is_denied_and_leaves_nothing(services):
    digest = await push(services, FIRST, V1)
    before = await services.keys()
    with pytest.raises(DeniedError) as raised:
        await push(services, SECOND, V1)
    assert raised.value.detail == {"tag": V1, "digest": digest}
    assert await services.keys() == before


async def test_one_kept_tag_among_several_denies_all(services):
    await push(services, FIRST, V1)
    with pytest.raises(DeniedError):
        await push(services, SECOND, LATEST, V1, by_digest=True)
    with pytest.raises(ManifestUnknownError):
        await services.manifests.resolve(NAME, LATEST)


async def test_other_tags_and_repositories_move(services):
    for name, tag in ((NAME, LATEST), (OTHER, V1)):
        await push(services, FIRST, tag, name=name)
        assert await services.manifests.resolve(name, tag) == Digest.of(FIRST)
        await push(services, SECOND, tag, name=name)
        assert await services.manifests.resolve(name, tag) == Digest.of(SECOND)
        await services.manifests.delete(name, tag)


async def test_kept_tag_cannot_be_deleted(services):
    digest = await push(services, FIRST, V1, LATEST)
    before = await services.keys()
    for reference in (V1, digest):
        with pytest.raises(DeniedError):
            await services.manifests.delete(NAME, reference)
    assert await services.keys() == before
    assert await services.manifests.delete(NAME, LATEST) == {LATEST: digest}


async def test_unknown_kept_tag_is_unknown(services):
    with pytest.raises(ManifestUnknownError):
        await services.manifests.delete(NAME, V1)


async def test_tag_from_before_the_rule_is_kept(services):
    await push(CoreServices(storage=services.storage, policy=ManifestPolicy(requires_blobs=False)), FIRST, V1)
    with pytest.raises(DeniedError):
        await push(services, SECOND, V1)


async def test_broken_link_is_repaired(services):
    await services.storage.write(layout.tag_current_link(NAME, V1), b"")
    digest = await push(services, FIRST, V1)
    assert await services.manifests.resolve(NAME, V1) == digest


@pytest.mark.parametrize("seed", range(10))
async def test_one_of_many_pushes_wins(services, seed):
    """Several replicas on one storage whose requests take random times."""
    replicas = [
        CoreServices(
            storage=FaultyBlobStorage(services.storage, seed=seed * 10 + number, delay_rate=0.7), policy=POLICY
        )
        for number in range(4)
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_try(push(replica, image(n), V1))) for n, replica in enumerate(replicas)]
    winners = [task.result() for task in tasks if task.result() is not None]
    assert len(winners) == 1
    assert await services.manifests.resolve(NAME, V1) == winners[0]
    assert (await services.manifests.get(NAME, V1)).digest == winners[0]


async def _try(pushing):
    try:
        return await pushing
    except DeniedError:
        return None


@pytest.mark.parametrize("pauses", range(12))
async def test_deleting_the_manifest_at_the_same_time_removes_nothing(services, pauses):
    """A push of a kept tag and a delete of its manifest by digest, in many orders: the tagged manifest exists."""
    digest = await push(services, FIRST, LATEST)
    slow = CoreServices(storage=FaultyBlobStorage(services.storage, seed=pauses, delay_rate=0.7), policy=POLICY)

    async def delete():
        for _ in range(pauses):
            await asyncio.sleep(0)
        try:
            await slow.manifests.delete(NAME, digest)
        except (DeniedError, ManifestUnknownError):
            return

    async with asyncio.TaskGroup() as group:
        group.create_task(push(slow, FIRST, V1))
        group.create_task(delete())
    assert (await services.manifests.get(NAME, V1)).content == FIRST


CLOSURE = ManifestPolicy(is_immutable=lambda _name, tag: tag.startswith("v"))


@pytest.fixture
async def released():
    """Make a repository whose tag v1 is an immutable index of one image."""
    services = CoreServices(policy=CLOSURE, has_immutable_tags=True)
    for content in (b"{}", b"layer", b"other"):
        await services.push_blob(NAME, content)
    child, index = image_manifest(b"{}", [b"layer"]), image_index([image_manifest(b"{}", [b"layer"])])
    await services.manifests.put(NAME, child, OCI_MANIFEST, digest=Digest.of(child))
    await services.manifests.put(NAME, index, OCI_INDEX, tags=[V1])
    other = image_manifest(b"{}", [b"other"])
    await services.manifests.put(NAME, other, OCI_MANIFEST, tags=[LATEST])
    return services


@pytest.mark.parametrize("content", [b"{}", b"layer"])
async def test_blob_of_an_immutable_image_stays(released, content):
    with pytest.raises(DeniedError) as raised:
        await released.blobs.unlink(NAME, Digest.of(content))
    assert raised.value.detail == {"tag": V1, "digest": Digest.of(content)}
    assert await released.read_blob(NAME, Digest.of(content)) == content


async def test_child_of_an_immutable_index_stays(released):
    child = Digest.of(image_manifest(b"{}", [b"layer"]))
    with pytest.raises(DeniedError):
        await released.manifests.delete(NAME, child)
    assert (await released.manifests.get(NAME, child)).digest == child


async def test_content_without_an_immutable_tag_can_be_deleted(released):
    await released.blobs.unlink(NAME, Digest.of(b"other"))
    await released.manifests.delete(NAME, Digest.of(image_manifest(b"{}", [b"other"])))
    with pytest.raises(BlobUnknownError):
        await released.blobs.stat(NAME, Digest.of(b"other"))


async def test_signatures_of_an_immutable_image_can_be_deleted(released):
    """They change on purpose, and no pull of the image needs them (docs/adr/0012)."""
    index = image_index([image_manifest(b"{}", [b"layer"])])
    signature = image_manifest(b"{}", [b"other"], subject=descriptor(index, OCI_INDEX))
    tag = Tag(f"sha256-{Digest.of(index).encoded}.sig")
    await released.manifests.put(NAME, signature, OCI_MANIFEST, tags=[tag])
    await released.manifests.delete(NAME, tag)
    await released.manifests.delete(NAME, Digest.of(signature))
    assert (await released.referrers.page(NAME, Digest.of(index))).items == []
    assert (await released.manifests.get(NAME, V1)).content == index


async def test_signature_under_an_immutable_tag_of_its_own_stays(released):
    index = image_index([image_manifest(b"{}", [b"layer"])])
    signature = image_manifest(b"{}", [b"other"], subject=descriptor(index, OCI_INDEX))
    await released.manifests.put(NAME, signature, OCI_MANIFEST, tags=[Tag("v1-signature")])
    for reference in (Tag("v1-signature"), Digest.of(signature)):
        with pytest.raises(DeniedError):
            await released.manifests.delete(NAME, reference)


@pytest.mark.parametrize("damage", [b"damaged", b"x" * (16 * 1024 * 1024 + 1)])
async def test_unreadable_immutable_image_keeps_all_content(released, damage):
    index = await released.manifests.resolve(NAME, V1)
    await released.storage.write(layout.blob_data(index), damage)
    with pytest.raises(DeniedError):
        await released.blobs.unlink(NAME, Digest.of(b"other"))


async def test_immutable_tag_without_a_manifest_keeps_nothing(released):
    index = await released.manifests.resolve(NAME, V1)
    await released.storage.delete([layout.blob_data(index)])
    await released.storage.write(layout.tag_current_link(NAME, Tag("v2")), b"no digest")
    await released.blobs.unlink(NAME, Digest.of(b"other"))


async def test_manifest_of_unknown_type_keeps_its_digests(released):
    content = json.dumps({"mediaType": "application/x", "x": Digest.of(b"other")}).encode()
    digest = Digest.of(content)
    await released.storage.write(layout.blob_data(digest), content)
    await released.tag_links.point(NAME, Tag("v3"), digest)
    with pytest.raises(DeniedError):
        await released.blobs.unlink(NAME, Digest.of(b"other"))
    await released.push_blob(NAME, b"free")
    await released.blobs.unlink(NAME, Digest.of(b"free"))


async def test_blob_needed_by_a_new_immutable_tag_is_linked_again(released):
    """The tag was pushed after the delete looked, and before it removed the link."""
    content, delete = image_manifest(b"{}", [b"other"]), released.storage.delete

    async def push_in_between(keys):
        released.storage.delete = delete
        await released.tag_links.point(NAME, Tag("v4"), Digest.of(content))
        await delete(keys)

    released.storage.delete = push_in_between
    with pytest.raises(DeniedError):
        await released.blobs.unlink(NAME, Digest.of(b"other"))
    assert await released.read_blob(NAME, Digest.of(b"other")) == b"other"
