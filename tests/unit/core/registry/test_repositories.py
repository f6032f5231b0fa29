"""Deleting a repository: all or nothing that matters, recorded, and never against a push."""

import asyncio

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import DeniedError, NameUnknownError, StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from core.trash.entry import TrashKind
from tests.support.collecting import collect
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import broken_invariants, revisions_of, tags_of

NAME = RepositoryName("team/app")
NEIGHBOUR = RepositoryName("team/app/tools")
OCI = media_types.OCI_MANIFEST
INDEX = media_types.OCI_INDEX
IMAGE = image_manifest(b"{}", [b"layer"])
ARM = image_manifest(b"{}", [b"arm"])
BOTH = image_index([IMAGE, ARM])
SIGNATURE = image_manifest(b"{}", subject=descriptor(IMAGE, OCI), artifactType="a/sig")


async def push_all(services, name=NAME):
    for content in (b"{}", b"layer", b"arm"):
        await services.push_blob(name, content)
    await services.manifests.put(name, IMAGE, OCI, tags=[Tag("v1"), Tag("latest")])
    await services.manifests.put(name, ARM, OCI)
    await services.manifests.put(name, BOTH, INDEX, tags=[Tag("both")])
    await services.manifests.put(name, SIGNATURE, OCI, digest=Digest.of(SIGNATURE))


async def live_keys(services, name=NAME):
    return {key for key in await services.keys(layout.repository(name)) if "/index/" not in key}


async def test_repository_without_tags_is_deleted(services):
    for content in (b"{}", b"layer"):
        await services.push_blob(NAME, content)
    await services.manifests.put(NAME, IMAGE, OCI)
    removal = await services.repositories.delete(NAME)
    assert (dict(removal.tags), removal.manifests) == ({}, (Digest.of(IMAGE),))
    assert await services.keys(layout.repository(NAME)) == await services.keys(layout.layers(NAME))


async def test_all_tags_and_manifests_are_deleted(services):
    await push_all(services)
    await push_all(services, NEIGHBOUR)
    neighbour = await services.keys(layout.repository(NEIGHBOUR))
    removal = await services.repositories.delete(NAME, by="alice", reason="moved")
    assert dict(removal.tags) == {
        Tag("both"): Digest.of(BOTH),
        Tag("latest"): Digest.of(IMAGE),
        Tag("v1"): Digest.of(IMAGE),
    }
    assert set(removal.manifests) == {Digest.of(each) for each in (IMAGE, ARM, BOTH, SIGNATURE)}
    left = await services.keys(layout.repository(NAME)) - neighbour
    assert left == await services.keys(layout.layers(NAME))
    assert await services.keys(layout.repository(NEIGHBOUR)) == neighbour
    [entry] = [entry async for entry in services.trash.entries()]
    assert (entry.id, entry.kind, entry.by, entry.reason) == (removal.entry, TrashKind.REPOSITORY, "alice", "moved")


async def test_repository_is_restored_after_its_collection(services):
    await push_all(services)
    before = await live_keys(services)
    removal = await services.repositories.delete(NAME)
    await collect(services)
    assert await services.keys(layout.REPOSITORIES) == set()
    restoration = await services.trash_service.restore(removal.entry)
    assert (restoration.lost, restoration.missing) == ((), ())
    assert await live_keys(services) == before
    assert await broken_invariants(services, NAME) == []


async def test_dry_run_changes_nothing(services):
    await push_all(services)
    before = await services.keys()
    removal = await services.repositories.delete(NAME, dry_run=True)
    assert (len(removal.tags), len(removal.manifests), removal.entry) == (3, 4, None)
    assert await services.keys() == before


async def test_unknown_name_is_unknown(services):
    await push_all(services, NEIGHBOUR)
    with pytest.raises(NameUnknownError):
        await services.repositories.delete(NAME)


async def test_repository_with_layers_only_has_nothing_to_delete(services):
    await services.push_blob(NAME, b"layer")
    removal = await services.repositories.delete(NAME)
    assert (len(removal.tags), len(removal.manifests), removal.entry) == (0, 0, None)


async def test_immutable_tags_are_refused_before_any_deletion(services):
    await push_all(services)
    before = await services.keys()
    policy = ManifestPolicy(is_immutable=lambda _name, tag: tag == "v1")
    with pytest.raises(DeniedError) as caught:
        await CoreServices(storage=services.storage, policy=policy).repositories.delete(NAME)
    assert caught.value.detail == {"name": NAME, "tags": [Tag("v1")]}
    assert await services.keys() == before


async def test_tag_that_has_only_a_history_is_deleted(services):
    await push_all(services)
    await services.storage.delete([layout.tag_current_link(NAME, Tag("v1"))])
    removal = await services.repositories.delete(NAME)
    assert removal.tags[Tag("v1")] is None
    assert await services.keys(layout.tags(NAME)) == set()


async def test_signatures_of_schema_1_are_deleted(services):
    await push_all(services)
    signature = await services.push_blob(NAME, b"jws")
    encoded = f"{signature.algorithm}/{signature.encoded}"
    await services.links.write(f"{layout.signatures(NAME, Digest.of(IMAGE))}/{encoded}/link", signature)
    await services.storage.write(f"{layout.revisions(NAME)}/somebody/elses", b"")
    before = await live_keys(services)
    removal = await services.repositories.delete(NAME)
    assert await services.keys(layout.revisions(NAME)) == {f"{layout.revisions(NAME)}/somebody/elses"}
    await services.trash_service.restore(removal.entry)
    assert await live_keys(services) == before


async def test_without_trash_nothing_is_recorded():
    services = CoreServices(trash_keep=NOW - NOW)
    await push_all(services)
    removal = await services.repositories.delete(NAME)
    assert (removal.entry, await services.keys(layout.TRASH)) == (None, set())


@pytest.mark.parametrize("steps", range(0, 60, 2))
async def test_push_during_the_deletion_stands(steps):
    """An index is pushed while its repository is deleted: if that is answered, all of it can be pulled."""
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW), seed=steps, delay_rate=0.5, splits_trees=True)
    services = CoreServices(storage=storage)
    await push_all(services)

    async def push():
        for _ in range(steps):
            await asyncio.sleep(0)
        for content in (b"{}", b"layer", b"arm"):
            await services.push_blob(NAME, content)
        await services.manifests.put(NAME, IMAGE, OCI)
        await services.manifests.put(NAME, ARM, OCI)
        await services.manifests.put(NAME, BOTH, INDEX, tags=[Tag("new")])

    await asyncio.gather(push(), services.repositories.delete(NAME))
    assert await broken_invariants(services, NAME) == []
    if Tag("new") in await tags_of(services, NAME):
        revisions = set(await revisions_of(services, NAME))
        assert {Digest.of(IMAGE), Digest.of(ARM), Digest.of(BOTH)} <= revisions


async def test_push_without_its_layers_during_the_deletion_is_refused(services, monkeypatch):
    """A registry that does not check manifests takes in what cannot be made whole."""
    await push_all(services)
    await services.links.write(layout.referrer_link(NAME, Digest.of(b"x"), Digest.of(b"gone")), Digest.of(b"gone"))
    careless = CoreServices(storage=services.storage, policy=ManifestPolicy(requires_blobs=False))
    remove = services.tag_links.remove

    async def remove_and_push(name, tags):
        await remove(name, tags)
        await careless.manifests.put(NAME, image_manifest(b"nowhere"), OCI, tags=[Tag("new")])

    monkeypatch.setattr(services.tag_links, "remove", remove_and_push)
    await services.repositories.delete(NAME)
    assert await tags_of(services, NAME) == ["new"]


async def test_kill_at_any_point_loses_nothing():
    mutations, ended = 0, False
    while not ended:
        storage = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW), splits_trees=True)
        services = CoreServices(storage=storage)
        await push_all(services)
        before = await live_keys(services)
        storage.stop_after(mutations)
        try:
            await services.repositories.delete(NAME)
            ended = True
        except StorageUnavailableError:
            ended = False
        storage.heal()
        assert await broken_invariants(services, NAME) == [], f"killed before change {mutations}"
        await collect(services)
        if await live_keys(services) != before:
            [entry] = [entry async for entry in services.trash.entries({TrashKind.REPOSITORY})]
            await services.trash_service.restore(entry.id)
        assert await live_keys(services) == before
        mutations += 1
    assert mutations > 9
