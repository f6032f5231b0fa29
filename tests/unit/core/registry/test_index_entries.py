"""Entries of an index whose media types decide nothing: docker-registry takes each as a blob or as a manifest."""

import asyncio
import json

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.image_layout.folder import FolderImageLayout
from core.collection.rounds import Batches, Rounds
from core.errors import BlobUnknownError, DeniedError, ManifestBlobUnknownError
from core.model import media_types
from core.model.digest import Digest, StandardHasher
from core.model.events import UNNAMED
from core.model.names import RepositoryName, Tag
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from core.transfer.exporting import ExportRequest, ImageExport
from core.transfer.importing import ImageImport, ImportTarget
from core.trash.entry import TrashKind
from core.verification.findings import Kind
from core.verification.rules import VerificationRules
from tests.support.collecting import collect
from tests.support.collecting_services import Store
from tests.support.content import descriptor, image_manifest
from tests.support.core_services import NOW, CoreServices, in_turn
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.transfers import CopyRun, registry_tree
from tests.support.verifications import Verifications

NAME = RepositoryName("team/app")
V1 = Tag("v1")
BLOB, LAYER = b"a bundle of something", b"layer"
CHILD = image_manifest(b"{}", [LAYER])
FOREIGN_TYPES = ("application/vnd.acme.bundle.v1", "application/vnd.acme.bundle.manifest.v1+json")


def index_of(*entries):
    manifests = [descriptor(content, media_type) for content, media_type in entries]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": manifests}, sort_keys=True
    ).encode()


# The type of the blob looks like that of a manifest, and the type of the manifest does not.
INDEX = index_of((CHILD, FOREIGN_TYPES[0]), (BLOB, FOREIGN_TYPES[1]))


async def push_parts(services, *, with_child=True):
    for content in (b"{}", LAYER, BLOB):
        await services.push_blob(NAME, content)
    if with_child:
        await services.manifests.put(NAME, CHILD, media_types.OCI_MANIFEST, digest=Digest.of(CHILD))


async def push(services):
    await push_parts(services)
    await services.manifests.put(NAME, INDEX, media_types.OCI_INDEX, tags=[V1])
    return services


async def live_keys(services):
    return await services.keys(layout.REPOSITORIES) | await services.keys(layout.BLOBS)


async def without_history(services):
    return {key for key in await live_keys(services) if "/index/" not in key}


@pytest.mark.parametrize("media_type", FOREIGN_TYPES)
@pytest.mark.parametrize("content", [BLOB, CHILD])
async def test_entry_may_be_a_blob_or_a_manifest(services, media_type, content):
    await push_parts(services)
    before = await live_keys(services)
    index = index_of((content, media_type))
    await services.manifests.put(NAME, index, media_types.OCI_INDEX, tags=[V1])
    assert (await services.manifests.get(NAME, V1)).content == index
    links = {key for key in await live_keys(services) - before if Digest.of(content).encoded in key}
    assert links == set()


async def test_entry_that_is_neither_is_missing(services):
    await push_parts(services, with_child=False)
    with pytest.raises(ManifestBlobUnknownError) as refused:
        await services.manifests.put(NAME, INDEX, media_types.OCI_INDEX, tags=[V1])
    assert refused.value.digests == (Digest.of(CHILD),)
    assert await services.keys(layout.tags(NAME)) == set()


async def test_entry_of_a_blob_type_is_only_looked_up_as_a_blob():
    """BuildKit's registry cache costs no more requests than an image of as many layers."""
    storage = FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW))
    services = CoreServices(storage=storage)
    await push_parts(services)
    index = index_of((BLOB, "application/vnd.buildkit.cacheconfig.v0"))
    await services.manifests.put(NAME, index, media_types.OCI_INDEX, tags=[V1])
    assert not [each for each in storage.operations if each.endswith(layout.revision_link(NAME, Digest.of(BLOB)))]


async def test_policy_may_allow_missing_entries():
    services = CoreServices(policy=ManifestPolicy(requires_child=lambda _entry: False))
    await services.manifests.put(NAME, INDEX, media_types.OCI_INDEX, tags=[V1])


async def test_collection_keeps_the_entries():
    store = Store()
    services = await push(store.services())
    before = await live_keys(services)
    await services.push_blob(NAME, b"garbage")
    await store.time.advance(7200)
    report = await store.collect(deletes_untagged=True)
    assert (report.problem_count, report.blobs_removed, report.manifests_removed) == (0, 1, 0)
    assert await live_keys(services) == before


async def test_rescue_from_a_collection_restores_each_entry_in_its_form():
    store = Store()
    services = await push(store.services())
    before = await live_keys(services)
    rounds = Rounds(store.storage)
    digests = [Digest.of(content) for content in (INDEX, CHILD, LAYER, BLOB)]
    await rounds.begin("20261124T000000Z-collection-1", dict.fromkeys(digests, Batches(0, 0)), settle_seconds=60.0)
    await rounds.enter("20261124T000000Z-collection-1", 0)
    await store.time.advance(31)
    asked = asyncio.create_task(services.manifests.get(NAME, V1))
    await store.time.advance(2)
    trash = store.trash()
    entry = trash.new_entry(TrashKind.COLLECTION)
    for digest in digests[1:]:
        await store.storage.delete([layout.layer_link(NAME, digest)])
        assert await trash.move_blob(digest, entry)
    await rounds.end("20261124T000000Z-collection-1")
    await store.time.advance(1)
    assert (await asked).content == INDEX
    assert await live_keys(services) == before


@pytest.mark.parametrize("content", [b"{}", LAYER, BLOB])
async def test_blob_of_an_immutable_index_stays(content):
    services = await push(CoreServices(policy=ManifestPolicy(is_immutable=lambda *_: True), has_immutable_tags=True))
    with pytest.raises(DeniedError):
        await services.blobs.unlink(NAME, Digest.of(content))
    with pytest.raises(DeniedError):
        await services.manifests.delete(NAME, Digest.of(CHILD))


async def test_large_blob_of_an_immutable_index_is_not_read_as_a_manifest():
    services = CoreServices(policy=ManifestPolicy(is_immutable=lambda *_: True), has_immutable_tags=True)
    large = b"x" * (16 * 1024 * 1024 + 1)
    for content in (large, b"free"):
        await services.push_blob(NAME, content)
    index = index_of((large, FOREIGN_TYPES[0]))
    await services.manifests.put(NAME, index, media_types.OCI_INDEX, tags=[V1])
    await services.blobs.unlink(NAME, Digest.of(b"free"))


async def test_deleted_index_is_restored_with_its_entries(services):
    await push(services)
    before = await without_history(services)
    await services.manifests.delete(NAME, V1)
    await collect(services)
    assert await services.keys(layout.BLOBS) == set()
    restoration = await services.trash_service.restore("team/app:v1")
    assert (restoration.missing, restoration.lost) == ((), ())
    assert await without_history(services) == before


async def test_two_deleted_indexes_of_one_manifest_are_restored(services):
    await push(services)
    second = index_of((CHILD, FOREIGN_TYPES[0]))
    await services.manifests.put(NAME, second, media_types.OCI_INDEX, tags=[Tag("v2")])
    before = await without_history(services)
    removal = await services.repositories.delete(NAME)
    await collect(services)
    await services.trash_service.restore(removal.entry)
    assert await without_history(services) == before


async def test_copy_includes_the_entries():
    services = await push(CoreServices(storage=InMemoryBlobStorage(now=lambda: NOW)))
    run = CopyRun(services.storage, InMemoryBlobStorage(now=lambda: NOW))
    await run.once()
    assert run.problems == []
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_copy_of_an_index_without_its_manifest_is_reported():
    services = await push(CoreServices(storage=InMemoryBlobStorage(now=lambda: NOW)))
    await services.storage.delete([layout.blob_data(Digest.of(CHILD))])
    run = CopyRun(services.storage, InMemoryBlobStorage(now=lambda: NOW))
    await run.once()
    assert {problem.subject for problem in run.problems} == {Digest.of(CHILD), Digest.of(INDEX), V1}


async def export(services, path):
    registry = services.registry(InMemoryCatalogIndex())
    async with FolderImageLayout(path, creates=True) as folder:
        exporting = ImageExport(
            registry, folder, new_hasher=StandardHasher, offload=in_turn, observe=lambda _progress: None
        )
        await exporting.run([ExportRequest(name=NAME, reference=V1)])


async def test_image_layout_holds_the_entries(services, tmp_path):
    await push(services)
    await export(services, tmp_path / "layout")
    target = CoreServices()
    async with FolderImageLayout(tmp_path / "layout") as folder:
        taking = ImageImport(
            target.registry(InMemoryCatalogIndex()), folder, by=UNNAMED, observe=lambda _progress: None
        )
        await taking.run(ImportTarget(name=NAME, tag=V1))
    assert (await target.manifests.get(NAME, V1)).content == INDEX
    for content in (CHILD, BLOB):
        assert await target.read_blob(NAME, Digest.of(content)) == content
    names = {file.name for file in (tmp_path / "layout").rglob("sha256/*")}
    assert names == {Digest.of(content).encoded for content in (INDEX, CHILD, b"{}", LAYER, BLOB)}


@pytest.mark.parametrize("content", [CHILD, BLOB])
async def test_index_with_a_missing_entry_is_not_exported(services, tmp_path, content):
    await push(services)
    digest = Digest.of(content)
    await services.storage.delete([layout.revision_link(NAME, digest), layout.layer_link(NAME, digest)])
    with pytest.raises(BlobUnknownError):
        await export(services, tmp_path / "layout")


@pytest.fixture
async def verifications(services):
    found = Verifications(await push(services))
    await found.catalog.record_push(NAME)
    # As of every entry with another type than its manifest.
    assert await found.kinds() == [Kind.WRONG_MEDIA_TYPE]
    return found


@pytest.mark.parametrize(("content", "kind"), [(BLOB, Kind.BLOB_LOST), (CHILD, Kind.MANIFEST_LOST)])
async def test_verification_reports_missing_entries(services, verifications, content, kind):
    await services.storage.delete([layout.blob_data(Digest.of(content))])
    findings = await verifications.run()
    [lost] = [finding for finding in findings if finding.kind is kind]
    assert f"{NAME}:{V1}" in lost.images


async def test_verification_allows_missing_entries_as_the_policy_does(services, verifications):
    verifications.rules = VerificationRules(requires_child=lambda _entry: False)
    await services.blobs.unlink(NAME, Digest.of(BLOB))
    assert Kind.BLOB_UNLINKED not in await verifications.kinds()


async def test_fallback_tag_may_list_referrers_of_such_types(services):
    subject, media_type = Digest.of(CHILD), "application/vnd.oci.artifact.manifest.v1+json"
    content = json.dumps({"mediaType": media_type, "subject": descriptor(CHILD, media_types.OCI_MANIFEST)}).encode()
    digest = Digest.of(content)
    await services.storage.write(layout.blob_data(digest), content)
    await services.links.write(layout.revision_link(NAME, digest), digest)
    tag = Tag(f"sha256-{subject.encoded}")
    await services.manifests.put(NAME, index_of((content, media_type)), media_types.OCI_INDEX, tags=[tag])
    assert [entry.digest for entry in (await services.referrers.page(NAME, subject)).items] == [digest]
