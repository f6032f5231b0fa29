"""Deleted content is restored with all content that was collected after it."""

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import BlobUnknownError, DeniedError, ManifestUnknownError, StorageUnavailableError, UnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.events import Actor
from core.model.names import RepositoryName, Tag
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from core.store.links import RemovedLink
from core.trash.entry import TrashKind
from tests.support.collecting import collect
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import broken_invariants, tags_of

NAME = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
OCI = media_types.OCI_MANIFEST
INDEX = media_types.OCI_INDEX
V1 = Tag("v1")
IMAGE = image_manifest(b"{}", [b"layer", b"another"])
ARM = image_manifest(b"{}", [b"arm"])
BOTH = image_index([IMAGE, ARM])
SIGNATURE = image_manifest(b"sig", subject=descriptor(IMAGE, OCI), artifactType="a/sig")
SIGNED_SIGNATURE = image_manifest(b"sig2", subject=descriptor(SIGNATURE, OCI), artifactType="a/sig")


async def push_image(services, name=NAME, *tags):
    for content in (b"{}", b"layer", b"another"):
        await services.push_blob(name, content)
    await services.manifests.put(name, IMAGE, OCI, tags=tags)


async def push_index(services, *tags):
    await push_image(services, NAME)
    await services.push_blob(NAME, b"arm")
    await services.manifests.put(NAME, ARM, OCI)
    await services.manifests.put(NAME, BOTH, INDEX, tags=tags)


async def push_signatures(services):
    for config, manifest in ((b"sig", SIGNATURE), (b"sig2", SIGNED_SIGNATURE)):
        await services.push_blob(NAME, config)
        await services.manifests.put(NAME, manifest, OCI, digest=Digest.of(manifest))


async def removals(services, name=None):
    return [removal async for removal in services.trash_service.removals(name)]


async def live_keys(services):
    keys = await services.keys(layout.REPOSITORIES) | await services.keys(layout.BLOBS)
    return {key for key in keys if "/index/" not in key}


async def test_deleted_tag_is_restored(services):
    await push_image(services, NAME, V1)
    before = await live_keys(services)
    await services.manifests.delete(NAME, V1, by="alice")
    [removal] = await removals(services)
    assert (removal.entry.kind, removal.entry.by, removal.entry.repository) == (TrashKind.TAG, "alice", NAME)
    assert removal.tags == ((NAME, V1, Digest.of(IMAGE)),)
    await services.trash_service.restore(removal.entry.id)
    assert await live_keys(services) == before
    assert await removals(services) == []


async def test_collected_image_is_restored_completely(services):
    """An index with its images, their blobs, and a signature that is signed itself."""
    await push_index(services, V1)
    await push_signatures(services)
    before = await live_keys(services)
    await services.manifests.delete(NAME, V1)
    await collect(services)
    assert await live_keys(services) == set()
    restoration = await services.trash_service.restore("team/app:v1")
    assert (restoration.manifests, restoration.missing, restoration.lost) == (5, (), ())
    assert restoration.repositories == (NAME,)
    assert await live_keys(services) == before
    assert await broken_invariants(services, NAME) == []
    page = await services.referrers.page(NAME, Digest.of(IMAGE))
    assert [entry.digest for entry in page.items] == [Digest.of(SIGNATURE)]


async def test_deleted_manifest_is_restored_with_its_tags(services):
    await push_image(services, NAME, V1, Tag("v1.0"))
    await push_signatures(services)
    before = await live_keys(services)
    await services.manifests.delete(NAME, Digest.of(SIGNATURE))
    await services.manifests.delete(NAME, Digest.of(IMAGE))
    first, second = await removals(services, NAME)
    assert (second.manifests, {tag for _, tag, _ in second.tags}) == (1, {V1, Tag("v1.0")})
    await services.trash_service.restore(second.entry.id)
    await services.trash_service.restore(first.entry.id)
    assert await live_keys(services) == before


async def test_unlinked_blob_is_restored(services):
    digest = await services.push_blob(NAME, b"layer")
    await services.blobs.unlink(NAME, digest, by=Actor("bob"))
    await collect(services)
    [removal, _] = await removals(services)
    await services.trash_service.restore(removal.entry.id)
    assert await services.read_blob(NAME, digest) == b"layer"


async def test_whole_collection_is_restored(services):
    await push_image(services, NAME)
    await services.push_blob(OTHER, b"loose")
    before = await live_keys(services)
    entry = await collect(services)
    restoration = await services.trash_service.restore(entry.id)
    assert restoration.lost == ()
    assert await live_keys(services) == before


async def test_quarantined_data_is_restored_only_on_demand(services):
    digest = await services.push_blob(NAME, b"layer")
    entry = services.trash.new_entry(TrashKind.QUARANTINE)
    await services.trash.record(entry, blobs=[digest])
    await services.trash.quarantine_blob(digest, entry)
    await services.trash_service.restore(entry.id)
    assert await services.read_blob(NAME, digest) == b"layer"


async def test_tag_that_points_elsewhere_needs_force(services):
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    await services.push_blob(NAME, b"arm")
    await services.manifests.put(NAME, ARM, OCI, tags=[V1])
    with pytest.raises(DeniedError, match="team/app:v1 now points to another manifest"):
        await services.trash_service.restore("team/app:v1")
    assert await services.tag_links.resolve(NAME, V1) == Digest.of(ARM)
    await services.trash_service.restore("team/app:v1", force=True)
    assert await services.tag_links.resolve(NAME, V1) == Digest.of(IMAGE)


async def test_immutable_tag_is_never_moved(services):
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    await services.push_blob(NAME, b"arm")
    await services.manifests.put(NAME, ARM, OCI, tags=[V1])
    kept = CoreServices(storage=services.storage, policy=ManifestPolicy(is_immutable=lambda _name, _tag: True))
    with pytest.raises(DeniedError, match="immutable"):
        await kept.trash_service.restore("team/app:v1", force=True)


async def test_youngest_entry_of_a_tag_is_restored(services):
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    await services.push_blob(NAME, b"arm")
    await services.manifests.put(NAME, ARM, OCI, tags=[V1])
    await services.manifests.delete(NAME, V1)
    await services.trash_service.restore("team/app:v1")
    assert await services.tag_links.resolve(NAME, V1) == Digest.of(ARM)


async def test_one_of_many_tags_is_restored_alone(services):
    """Retention takes many at once; one of them was wanted."""
    v2 = Tag("v2")
    await push_image(services, NAME, V1, v2)
    await services.manifests.delete_tags(NAME, {V1: Digest.of(IMAGE), v2: Digest.of(IMAGE)}, reason="retention")
    await services.trash_service.restore("team/app:v1")
    assert await tags_of(services, NAME) == [V1]
    await services.trash_service.restore("team/app:v2")
    assert await tags_of(services, NAME) == [V1, v2]
    assert await removals(services) == []


async def test_one_tag_of_a_deleted_repository_is_restored_alone(services):
    await push_index(services, V1)
    await services.manifests.put(NAME, ARM, OCI, tags=[Tag("arm")])
    await services.repositories.delete(NAME)
    await collect(services)
    restoration = await services.trash_service.restore("team/app:arm")
    assert (restoration.manifests, await tags_of(services, NAME)) == (1, [Tag("arm")])
    await services.trash_service.restore("team/app:v1")
    assert await tags_of(services, NAME) == [Tag("arm"), V1]
    assert await broken_invariants(services, NAME) == []


@pytest.mark.parametrize("name", ["team/app:v1", "20261124T034756.123456Z-tag-1", "x", "../x", "a/b"])
async def test_missing_entry_is_unknown(services, name):
    with pytest.raises(UnknownError):
        await services.trash_service.restore(name)


async def test_restoring_fails_without_the_manifest(services):
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    entry = await collect(services)
    await services.trash_service.discard(entry.id)
    with pytest.raises(ManifestUnknownError):
        await services.trash_service.restore("team/app:v1")
    assert await services.keys(layout.REPOSITORIES) == set()


async def test_restoring_fails_without_a_layer(services):
    """Then nothing points at the incomplete image."""
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    entry = await collect(services)
    await services.storage.delete([layout.trash_blob_copy(Digest.of(b"layer"), entry.id)])
    with pytest.raises(BlobUnknownError):
        await services.trash_service.restore("team/app:v1")
    assert await tags_of(services, NAME) == []
    assert await services.links.read(layout.revision_link(NAME, Digest.of(IMAGE))) is None


async def test_blob_link_without_data_is_not_restored(services):
    digest = await services.push_blob(NAME, b"layer")
    await services.blobs.unlink(NAME, digest)
    await services.storage.delete([layout.blob_data(digest)])
    [removal] = await removals(services)
    with pytest.raises(BlobUnknownError):
        await services.trash_service.restore(removal.entry.id)


async def test_image_pushed_without_a_platform_is_restored_without_it(services):
    sparse = CoreServices(storage=services.storage, policy=ManifestPolicy(requires_child=lambda _child: False))
    await push_image(sparse, NAME)
    await sparse.manifests.put(NAME, BOTH, INDEX, tags=[V1])
    await sparse.manifests.delete(NAME, V1)
    await collect(sparse)
    restoration = await sparse.trash_service.restore("team/app:v1")
    assert (restoration.missing, restoration.manifests) == ((Digest.of(ARM),), 2)


async def test_one_broken_image_does_not_stop_the_others_of_a_collection(services):
    await push_index(services, V1)
    await services.manifests.delete(NAME, V1)
    entry = await collect(services)
    await services.storage.delete([layout.trash_blob_copy(Digest.of(b"arm"), entry.id)])
    restoration = await services.trash_service.restore(entry.id)
    assert Digest.of(ARM) in restoration.lost
    assert await services.manifests.get(NAME, Digest.of(IMAGE))
    assert entry.id in [removal.entry.id for removal in await removals(services)]


async def test_repository_gets_only_its_own_links_back(services):
    """An index may name an image of another user's repository; restoring it must not give access to that image."""
    sparse = CoreServices(storage=services.storage, policy=ManifestPolicy(requires_child=lambda _child: False))
    await push_image(sparse, OTHER, V1)
    await sparse.manifests.put(NAME, image_index([IMAGE]), INDEX, tags=[V1])
    await sparse.manifests.delete(NAME, V1)
    await collect(sparse)
    restoration = await sparse.trash_service.restore("team/app:v1")
    assert restoration.missing == (Digest.of(IMAGE),)
    with pytest.raises(ManifestUnknownError):
        await services.manifests.get(NAME, Digest.of(IMAGE))


async def test_repository_gets_no_layer_that_it_never_had(services):
    careless = CoreServices(storage=services.storage, policy=ManifestPolicy(requires_blobs=False))
    await push_image(careless, OTHER, V1)
    await careless.manifests.put(NAME, IMAGE, OCI, tags=[V1])
    await careless.manifests.delete(NAME, V1)
    with pytest.raises(BlobUnknownError):
        await careless.trash_service.restore("team/app:v1")
    assert not await services.keys(layout.layers(NAME))


async def test_tag_is_restored_after_its_manifest_was_deleted(services):
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    await services.manifests.delete(NAME, Digest.of(IMAGE))
    await collect(services)
    await services.trash_service.restore("team/app:v1")
    assert (await services.manifests.get(NAME, V1)).content == IMAGE
    assert await broken_invariants(services, NAME) == []


async def test_alias_of_a_layer_is_restored_unchanged(services):
    """Distribution links the sha512 of a push to its sha256; only the record of the collection knows."""
    alias = Digest.of(b"layer", "sha512")
    image = image_manifest(b"{}", [b"layer"]).replace(Digest.of(b"layer").encode(), alias.encode())
    target = await services.push_blob(NAME, b"layer")
    await services.push_blob(NAME, b"{}")
    await services.links.write(layout.layer_link(NAME, alias), target)
    await services.manifests.put(NAME, image, OCI, tags=[V1])
    await services.manifests.delete(NAME, V1)
    entry = services.trash.new_entry(TrashKind.COLLECTION)
    link = RemovedLink(layout.layer_link(NAME, alias), target)
    await services.trash.record(entry, links=[link], blobs=[target])
    await services.storage.delete([link.key])
    await services.trash.move_blob(target, entry)
    await services.trash_service.restore("team/app:v1")
    assert await services.read_blob(NAME, alias) == b"layer"


async def test_without_trash_deletions_are_not_recorded():
    services = CoreServices(trash_keep=NOW - NOW)
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    await services.manifests.delete(NAME, Digest.of(IMAGE))
    await services.blobs.unlink(NAME, Digest.of(b"layer"))
    assert await services.keys(layout.TRASH) == set()


async def test_restored_tag_does_not_point_at_permanently_removed_content(services, monkeypatch):
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    await services.manifests.delete(NAME, Digest.of(IMAGE))

    async def lose(_ticket, needs):
        return [need.digest for need in needs][:1]

    monkeypatch.setattr(services.guard, "confirm", lose)
    with pytest.raises(BlobUnknownError):
        await services.trash_service.restore("team/app:v1")
    assert await tags_of(services, NAME) == []
    assert await services.links.read(layout.revision_link(NAME, Digest.of(IMAGE))) is None


async def test_manifest_of_another_entry_is_restored_by_its_link(services):
    """The references of schema 1 cannot be read."""
    old = b'{"schemaVersion": 1}'
    digest = await services.push_blob(NAME, old)
    await services.links.write(layout.revision_link(NAME, digest), digest)
    await services.tag_links.point(NAME, V1, digest)
    await services.manifests.delete(NAME, digest)
    await services.trash_service.restore("team/app:v1")
    assert await services.tag_links.resolve(NAME, V1) == digest
    assert await services.links.read(layout.revision_link(NAME, digest)) == digest


async def test_missing_signature_does_not_stop_the_restoration(services):
    await push_image(services, NAME, V1)
    await push_signatures(services)
    await services.manifests.delete(NAME, V1)
    entry = await collect(services)
    await services.storage.delete([layout.trash_blob_copy(Digest.of(b"sig"), entry.id)])
    restoration = await services.trash_service.restore("team/app:v1")
    assert restoration.missing == (Digest.of(SIGNATURE),)
    assert (await services.manifests.get(NAME, V1)).content == IMAGE


async def test_history_of_lost_manifests_is_not_restored(services):
    """The line that a tag once pointed at something is of no use without it."""
    digest = await services.push_blob(NAME, b"layer")
    gone = Digest.of(b"gone")
    entry = services.trash.new_entry(TrashKind.COLLECTION)
    history = RemovedLink(layout.tag_index_link(NAME, V1, gone), gone)
    await services.trash.record(entry, links=[history, RemovedLink(layout.layer_link(NAME, digest), digest)])
    assert (await services.trash_service.restore(entry.id)).lost == ()
    assert history.key not in await services.keys()


async def run_until(mutations):
    """Restore a collected image with its signatures, killed before change number `mutations`."""
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW), splits_trees=True)
    services = CoreServices(storage=storage)
    await push_index(services, V1)
    await push_signatures(services)
    whole = await live_keys(services)
    await services.manifests.delete(NAME, V1)
    await collect(services)
    storage.stop_after(mutations)
    try:
        await services.trash_service.restore("team/app:v1")
    except StorageUnavailableError:
        ended = False
    else:
        ended = True
    storage.heal()
    return CoreServices(storage=storage), ended, whole


async def test_kill_at_any_point_of_restoring_loses_nothing():
    mutations = 0
    while True:
        services, ended, whole = await run_until(mutations)
        assert await broken_invariants(services, NAME) == [], f"killed before change {mutations}"
        if ended:
            break
        # The entry goes last: as long as anything is undone, it is there to be restored again.
        if await live_keys(services) != whole:
            await services.trash_service.restore("team/app:v1")
        assert await live_keys(services) == whole
        assert await broken_invariants(services, NAME) == []
        mutations += 1
    assert mutations > 15


async def delete_tag(services):
    await services.manifests.delete(NAME, V1)


async def delete_manifest(services):
    await services.manifests.delete(NAME, Digest.of(IMAGE))


async def unlink_layer(services):
    await services.blobs.unlink(NAME, Digest.of(b"layer"))


@pytest.mark.parametrize("delete", [delete_tag, delete_manifest, unlink_layer])
async def test_kill_at_any_point_of_deleting_loses_nothing(delete):
    mutations, ended = 0, False
    while not ended:
        storage = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW), splits_trees=True)
        services = CoreServices(storage=storage)
        await push_image(services, NAME, V1, Tag("v1.0"))
        whole = await live_keys(services)
        storage.stop_after(mutations)
        try:
            await delete(services)
            ended = True
        except StorageUnavailableError:
            ended = False
        storage.heal()
        await collect(services)
        if await live_keys(services) != whole:
            [entry] = [entry async for entry in services.trash.entries(set(TrashKind) - {TrashKind.COLLECTION})]
            await services.trash_service.restore(entry.id)
        assert await live_keys(services) == whole
        mutations += 1
    assert mutations > 1


class CollectedStorage(FaultyBlobStorage):
    """Loses one object at the moment when it is read."""

    lost = ""

    async def read(self, key, **options):
        if key == self.lost:
            await self.inner.delete([key])
        return await super().read(key, **options)


async def test_manifest_that_is_collected_during_its_restoration_is_unknown():
    storage = CollectedStorage(InMemoryBlobStorage(now=lambda: NOW))
    services = CoreServices(storage=storage)
    await push_image(services, NAME, V1)
    await services.manifests.delete(NAME, V1)
    storage.lost = layout.blob_data(Digest.of(IMAGE))
    with pytest.raises(ManifestUnknownError):
        await services.trash_service.restore("team/app:v1")
    assert await tags_of(services, NAME) == []
    assert [removal.tags for removal in await removals(services)] == [((NAME, V1, Digest.of(IMAGE)),)]
