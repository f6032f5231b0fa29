"""Each kind of damage is found, named with the images it hits, and repaired as far as the store can."""

import json
from dataclasses import replace

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.errors import BlobUnknownError, ContentDamagedError, ManifestUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.store.damage import DamageRecords
from core.summaries.changes import ChangeKind, ChangeLog, ChangeRecorder
from core.trash.entry import TrashKind
from core.verification.findings import Finding, Kind, Outcome
from core.verification.rules import VerificationOptions, VerificationRules
from tests.support.core_services import CoreServices
from tests.support.verifications import OPTIONS, REPAIR, Verifications
from tests.unit.core.verification.conftest import CONFIG, LAYER, NAME, OTHER_LAYER, Store

ABSENT = Digest.of(b"nobody has this")


def only(findings: list[Finding], kind: Kind) -> Finding:
    [found] = [finding for finding in findings if finding.kind is kind]
    return found


async def test_healthy_store_has_no_findings(store: Store) -> None:
    assert await store.verifications.run() == []
    counted = store.verifications.counted
    assert (counted.blobs, counted.manifests, counted.repositories) == (8, 4, 1)


async def test_damaged_layer_is_reported_with_all_images(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(store.layer), b"other bytes")
    findings = await store.verifications.run()
    data = only(findings, Kind.CORRUPT_DATA)
    assert (data.digest, data.outcome, data.is_left) == (store.layer, Outcome.FOUND, True)
    lost = [finding for finding in findings if finding.kind is Kind.BLOB_LOST]
    assert {finding.images for finding in lost} == {
        (f"{NAME}:latest", f"{NAME}:v1", f"{NAME}@{store.image}"),
        (f"{NAME}@{store.child}", f"{NAME}:multi", f"{NAME}@{store.index}"),
    }
    assert all(finding.digest == store.layer for finding in lost)


async def test_damaged_layer_is_set_aside_and_a_push_heals_it(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(store.layer), b"other bytes")
    findings = await store.verifications.run(REPAIR)
    assert only(findings, Kind.CORRUPT_DATA).outcome is Outcome.QUARANTINED
    assert store.verifications.announced == [store.layer]
    with pytest.raises(BlobUnknownError):
        await store.services.blobs.stat(NAME, store.layer)
    assert set(await store.verifications.kinds()) == {Kind.BLOB_LOST}
    assert [entry.kind async for entry in store.verifications.trash.entries()] == [TrashKind.QUARANTINE]

    await store.services.push_blob(NAME, LAYER)
    healed = await store.verifications.run(REPAIR)
    assert {(finding.kind, finding.outcome) for finding in healed} == {(Kind.WHOLE_AGAIN, Outcome.REBUILT)}
    assert (await store.services.manifests.get(NAME, Tag("latest"))).digest == store.image
    assert await store.verifications.run() == []


async def test_repaired_repositories_are_recorded_for_their_lists(store: Store) -> None:
    services = store.services
    store.verifications.changes = ChangeRecorder(services.storage, now=services.now, new_id=services.new_id)
    await services.storage.write(layout.blob_data(store.layer), b"other bytes")
    log = ChangeLog(services.storage)
    await store.verifications.run()
    assert (await log.listing()).records == []
    await store.verifications.run(REPAIR)
    [record] = (await log.listing()).records
    [change] = await log.read(record)
    assert (change.kind, change.repository, change.tag, change.by) == (ChangeKind.OTHER, NAME, None, "registry verify")


async def read_damaged(services: CoreServices, digest: Digest, content: bytes) -> None:
    """Damage a blob, and have a pull find it."""
    await services.storage.write(layout.blob_data(digest), content)
    with pytest.raises(ContentDamagedError):
        await services.read_blob(NAME, digest)


FAST = replace(OPTIONS, fast=True)
ONE = replace(FAST, repository=NAME)


@pytest.mark.parametrize("options", [OPTIONS, FAST, ONE], ids=lambda options: options.scope)
async def test_damage_found_by_a_pull_is_found(store: Store, options: VerificationOptions) -> None:
    await read_damaged(store.services, store.layer, LAYER[:-1] + b"x")
    await read_damaged(store.services, store.config, CONFIG[:-1] + b"x")
    await store.services.storage.write(layout.blob_data(store.config), CONFIG)
    data = only(await store.verifications.run(options), Kind.CORRUPT_DATA)
    assert (data.digest, data.outcome) == (store.layer, Outcome.FOUND)
    assert set(await DamageRecords(store.services.storage).listed()) == {store.layer}


@pytest.mark.parametrize("options", [OPTIONS, FAST], ids=lambda options: options.scope)
async def test_records_of_repaired_and_lost_data_are_removed(store: Store, options: VerificationOptions) -> None:
    await read_damaged(store.services, store.layer, LAYER[:-1] + b"x")
    await read_damaged(store.services, store.config, b"x")
    await store.services.storage.delete([layout.blob_data(store.config)])
    findings = await store.verifications.run(replace(options, repair=True))
    assert only(findings, Kind.CORRUPT_DATA).outcome is Outcome.QUARANTINED
    assert not await DamageRecords(store.services.storage).listed()


async def test_sound_copy_in_the_trash_heals_without_a_push(store: Store) -> None:
    trash = store.verifications.trash
    entry = trash.new_entry(TrashKind.COLLECTION)
    await trash.record(entry, blobs=[store.layer])
    await trash.move_blob(store.layer, entry)
    await store.services.storage.write(layout.blob_data(store.layer), b"other bytes")
    findings = await store.verifications.run(REPAIR)
    assert [(finding.kind, finding.outcome) for finding in findings] == [(Kind.CORRUPT_DATA, Outcome.RESTORED)]
    assert await store.services.read_blob(NAME, store.layer) == LAYER
    assert await store.verifications.run() == []


async def test_missing_layer_is_restored_from_the_trash(store: Store) -> None:
    trash = store.verifications.trash
    entry = trash.new_entry(TrashKind.COLLECTION)
    await trash.record(entry, blobs=[store.config])
    await trash.move_blob(store.config, entry)
    findings = await store.verifications.run(REPAIR)
    assert {finding.kind for finding in findings} == {Kind.BLOB_LOST}
    assert findings[0].outcome is Outcome.RESTORED
    assert await store.verifications.run() == []


async def test_damaged_copy_in_the_trash_is_not_used(store: Store) -> None:
    trash, storage = store.verifications.trash, store.services.storage
    entry = trash.new_entry(TrashKind.COLLECTION)
    await trash.record(entry, blobs=[store.layer])
    await storage.write(layout.trash_blob_copy(store.layer, entry.id), b"damaged too")
    await storage.write(layout.blob_data(store.layer), b"other bytes")
    findings = await store.verifications.run(REPAIR)
    assert only(findings, Kind.CORRUPT_DATA).outcome is Outcome.QUARANTINED
    with pytest.raises(BlobUnknownError):
        await store.services.blobs.stat(NAME, store.layer)


async def test_lost_layer_is_kept_until_its_push(store: Store) -> None:
    await store.services.storage.delete([layout.blob_data(store.layer)])
    findings = await store.verifications.run(REPAIR)
    assert {(finding.kind, finding.outcome) for finding in findings} == {(Kind.BLOB_LOST, Outcome.NEEDS_PUSH)}
    assert await store.verifications.kinds() == [Kind.BLOB_LOST] * 2
    # Clients that push only missing content begin with the manifest.
    with pytest.raises(ManifestUnknownError):
        await store.services.manifests.get(NAME, Tag("v1"))
    await store.services.push_blob(NAME, LAYER)
    await store.verifications.run(REPAIR)
    assert (await store.services.manifests.get(NAME, Tag("v1"))).digest == store.image
    assert await store.verifications.run() == []


async def test_lost_manifest_keeps_its_tags_for_the_push(store: Store) -> None:
    content = (await store.services.manifests.get(NAME, store.image)).content
    await store.services.storage.delete([layout.blob_data(store.image)])
    finding = only(await store.verifications.run(REPAIR), Kind.MANIFEST_LOST)
    assert finding.images == (f"{NAME}:latest", f"{NAME}:v1", f"{NAME}@{store.image}")
    assert (finding.outcome, finding.is_left) == (Outcome.NEEDS_PUSH, True)
    await store.services.manifests.put(NAME, content, "", tags=[Tag("v1")])
    assert (await store.services.manifests.get(NAME, Tag("latest"))).digest == store.image
    assert await store.verifications.kinds(REPAIR) == [Kind.WHOLE_AGAIN]
    assert await store.verifications.run() == []


async def test_damaged_manifest_is_set_aside_and_reported_as_lost(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(store.child), b"{}")
    findings = await store.verifications.run(REPAIR)
    assert only(findings, Kind.CORRUPT_DATA).outcome is Outcome.QUARANTINED
    lost = only(findings, Kind.MANIFEST_LOST)
    assert lost.images == (f"{NAME}@{store.child}", f"{NAME}:multi", f"{NAME}@{store.index}")
    with pytest.raises(ManifestUnknownError):
        await store.services.manifests.get(NAME, store.child)


async def test_lost_manifest_without_references_is_removed(store: Store) -> None:
    await store.services.storage.delete([layout.blob_data(store.signature)])
    findings = await store.verifications.run(REPAIR)
    assert only(findings, Kind.MANIFEST_LOST).outcome is Outcome.LOST
    assert only(findings, Kind.REFERRER_STALE).outcome is Outcome.REMOVED
    # A config that no manifest needs any more is sound all the same.
    assert await store.verifications.run() == []


@pytest.mark.parametrize("content", [b"", b"sha256:torn", b"x" * 2000, ABSENT.encode()])
async def test_broken_layer_link_is_rebuilt(store: Store, content: bytes) -> None:
    await store.services.storage.write(layout.layer_link(NAME, store.layer), content)
    findings = await store.verifications.run(REPAIR)
    assert only(findings, Kind.BROKEN_LINK).outcome is Outcome.REBUILT
    assert await store.services.links.read(layout.layer_link(NAME, store.layer)) == store.layer
    assert await store.verifications.run() == []


async def test_broken_layer_link_to_nothing_is_removed(store: Store) -> None:
    await store.services.storage.write(layout.layer_link(NAME, ABSENT), b"")
    findings = await store.verifications.run(REPAIR)
    assert [(finding.kind, finding.outcome) for finding in findings] == [(Kind.BROKEN_LINK, Outcome.REMOVED)]
    assert await store.verifications.run() == []


async def test_alias_of_another_algorithm_is_sound(store: Store) -> None:
    alias = Digest.of(LAYER, "sha512")
    await store.services.links.write(layout.layer_link(NAME, alias), store.layer)
    assert await store.verifications.run() == []


async def test_layer_link_without_data_is_removed(store: Store) -> None:
    await store.services.links.write(layout.layer_link(NAME, ABSENT), ABSENT)
    findings = await store.verifications.run(REPAIR)
    assert [(finding.kind, finding.outcome) for finding in findings] == [(Kind.LAYER_WITHOUT_DATA, Outcome.REMOVED)]
    assert await store.verifications.run() == []


async def test_lost_layer_link_is_rebuilt(store: Store) -> None:
    await store.services.blobs.unlink(NAME, store.layer)
    findings = await store.verifications.run(REPAIR)
    assert {(finding.kind, finding.outcome) for finding in findings} == {(Kind.BLOB_UNLINKED, Outcome.REBUILT)}
    assert await store.services.read_blob(NAME, store.layer) == LAYER
    assert await store.verifications.run() == []


async def test_layer_link_is_not_rebuilt_without_proof(store: Store) -> None:
    store.verifications.rules = VerificationRules(requires_blobs=False)
    await store.services.blobs.unlink(NAME, store.layer)
    assert await store.verifications.kinds(REPAIR) == [Kind.ORPHAN]
    with pytest.raises(BlobUnknownError):
        await store.services.blobs.stat(NAME, store.layer)


async def test_broken_revision_link_is_rebuilt(store: Store) -> None:
    await store.services.storage.write(layout.revision_link(NAME, store.image), b"")
    findings = await store.verifications.run(REPAIR)
    assert only(findings, Kind.BROKEN_LINK).outcome is Outcome.REBUILT
    assert await store.verifications.run() == []


async def test_revision_that_is_no_manifest_is_only_reported(store: Store) -> None:
    content = b'{"schemaVersion": 3, "mediaType": "application/vnd.oci.image.manifest.v1+json"}'
    digest = Digest.of(content)
    await store.services.storage.write(layout.blob_data(digest), content)
    await store.services.links.write(layout.revision_link(NAME, digest), digest)
    finding = only(await store.verifications.run(REPAIR), Kind.MANIFEST_UNREADABLE)
    assert finding.outcome is Outcome.FOUND
    assert finding.images == (f"{NAME}@{digest}",)
    assert await store.verifications.kinds() == [Kind.MANIFEST_UNREADABLE]


async def test_manifest_of_a_foreign_type_is_a_manifest(store: Store) -> None:
    content = b'{"mediaType": "application/x-other", "anything": 1}'
    digest = Digest.of(content)
    await store.services.storage.write(layout.blob_data(digest), content)
    await store.services.links.write(layout.revision_link(NAME, digest), digest)
    assert await store.verifications.run() == []


async def test_schema1_is_a_manifest(store: Store) -> None:
    content = b'{"schemaVersion": 1, "name": "team/app"}'
    digest = Digest.of(content)
    await store.services.storage.write(layout.blob_data(digest), content)
    await store.services.links.write(layout.revision_link(NAME, digest), digest)
    assert await store.verifications.run() == []


async def test_manifest_with_a_wrong_size_is_reported(store: Store) -> None:
    content = (await store.services.manifests.get(NAME, store.image)).content
    lying = content.replace(b'"size": 250', b'"size": 251')
    assert lying != content
    await store.services.manifests.put(NAME, lying, "", tags=[Tag("lying")])
    finding = only(await store.verifications.run(REPAIR), Kind.WRONG_SIZE)
    assert finding.images == (f"{NAME}:lying", f"{NAME}@{Digest.of(lying)}")
    assert "251" in finding.detail


async def test_index_with_a_wrong_media_type_is_reported(store: Store) -> None:
    content = (await store.services.manifests.get(NAME, store.index)).content
    lying = content.replace(media_types.OCI_MANIFEST.encode(), media_types.DOCKER_MANIFEST.encode())
    await store.services.manifests.put(NAME, lying, "", tags=[Tag("lying")])
    finding = only(await store.verifications.run(REPAIR), Kind.WRONG_MEDIA_TYPE)
    assert (finding.digest, finding.outcome) == (store.child, Outcome.FOUND)
    assert finding.images == (f"{NAME}:lying", f"{NAME}@{Digest.of(lying)}")
    assert media_types.DOCKER_MANIFEST in finding.detail


async def test_layers_of_schema1_are_verified(store: Store) -> None:
    sums = [{"blobSum": store.layer}, {"blobSum": "nonsense"}, {}, "text"]
    content = json.dumps({"schemaVersion": 1, "name": NAME, "fsLayers": sums}).encode()
    digest = Digest.of(content)
    await store.services.storage.write(layout.blob_data(digest), content)
    await store.services.tag_links.point(NAME, Tag("old"), digest)
    await store.services.links.write(layout.revision_link(NAME, digest), digest)
    assert await store.verifications.run() == []
    await store.services.storage.delete([layout.blob_data(store.layer)])
    images = [finding.images for finding in await store.verifications.run() if finding.kind is Kind.BLOB_LOST]
    assert (f"{NAME}:old", f"{NAME}@{digest}") in images


async def test_missing_child_of_an_index_is_reported(store: Store) -> None:
    await store.services.manifests.delete(NAME, store.child)
    finding = only(await store.verifications.run(REPAIR), Kind.CHILD_MISSING)
    assert finding.images == (f"{NAME}:multi", f"{NAME}@{store.index}")
    assert finding.outcome is Outcome.NEEDS_PUSH
    store.verifications.rules = VerificationRules(requires_child=lambda _child: False)
    assert await store.verifications.kinds() == [Kind.ORPHAN]


async def test_tag_without_manifest_is_removed_and_recorded(store: Store) -> None:
    await store.services.tag_links.point(NAME, Tag("ghost"), ABSENT)
    finding = only(await store.verifications.run(REPAIR), Kind.TAG_WITHOUT_MANIFEST)
    assert (finding.images, finding.outcome) == ((f"{NAME}:ghost",), Outcome.LOST)
    assert Tag("ghost") not in await store.services.tag_links.listed(NAME)
    [entry] = [entry async for entry in store.verifications.trash.entries()]
    [part] = [part async for part in store.verifications.trash.parts(entry.id)]
    assert {link.target for link in part.links} == {ABSENT}
    assert await store.verifications.run() == []


async def test_tag_whose_manifest_lost_its_link_is_kept_until_a_push(store: Store) -> None:
    content = (await store.services.manifests.get(NAME, store.index)).content
    await store.services.storage.delete([layout.revision_link(NAME, store.index)])
    finding = only(await store.verifications.run(REPAIR), Kind.TAG_WITHOUT_MANIFEST)
    assert (finding.images, finding.outcome) == ((f"{NAME}:multi",), Outcome.NEEDS_PUSH)
    await store.services.manifests.put(NAME, content, "")
    assert (await store.services.manifests.get(NAME, Tag("multi"))).digest == store.index
    assert await store.verifications.run() == []


async def test_tag_of_a_manifest_among_the_layers_is_sound(store: Store) -> None:
    """Registry 2.1.0 linked manifests there, and servers still find them."""
    content = b'{"schemaVersion": 1, "name": "team/app"}'
    digest = await store.services.push_blob(NAME, content)
    await store.services.tag_links.point(NAME, Tag("ancient"), digest)
    assert (await store.services.manifests.get(NAME, Tag("ancient"))).digest == digest
    assert await store.verifications.run(REPAIR) == []
    await store.services.tag_links.point(NAME, Tag("ancient"), store.layer)
    assert await store.verifications.kinds() == [Kind.TAG_WITHOUT_MANIFEST]
    await store.services.storage.delete([layout.blob_data(store.layer)])
    assert Kind.TAG_WITHOUT_MANIFEST in await store.verifications.kinds()


async def test_immutable_tag_without_manifest_stays(store: Store) -> None:
    store.verifications.rules = VerificationRules(is_immutable=lambda _name, _tag: True)
    await store.services.tag_links.point(NAME, Tag("ghost"), ABSENT)
    finding = only(await store.verifications.run(REPAIR), Kind.TAG_WITHOUT_MANIFEST)
    assert finding.outcome is Outcome.NEEDS_PUSH
    assert await store.services.tag_links.resolve(NAME, Tag("ghost")) == ABSENT


async def test_tag_with_one_live_history_points_there_again(store: Store) -> None:
    await store.services.storage.delete([layout.tag_current_link(NAME, Tag("v1"))])
    finding = only(await store.verifications.run(REPAIR), Kind.TAG_WITHOUT_TARGET)
    assert (finding.images, finding.outcome) == ((f"{NAME}:v1",), Outcome.REBUILT)
    assert await store.services.tag_links.resolve(NAME, Tag("v1")) == store.image
    assert await store.verifications.run() == []


async def test_broken_tag_link_is_rebuilt(store: Store) -> None:
    await store.services.storage.write(layout.tag_current_link(NAME, Tag("v1")), b"torn")
    assert only(await store.verifications.run(REPAIR), Kind.BROKEN_LINK).outcome is Outcome.REBUILT
    assert await store.services.tag_links.resolve(NAME, Tag("v1")) == store.image
    assert await store.verifications.run() == []


async def test_ambiguous_tag_is_not_repaired(store: Store) -> None:
    await store.services.links.write(layout.tag_index_link(NAME, Tag("v1"), store.index), store.index)
    await store.services.storage.delete([layout.tag_current_link(NAME, Tag("v1"))])
    finding = only(await store.verifications.run(REPAIR), Kind.TAG_WITHOUT_TARGET)
    assert finding.outcome is Outcome.NEEDS_PUSH
    assert store.image in finding.detail
    assert store.index in finding.detail


async def test_tag_whose_history_is_gone_too_is_removed(store: Store) -> None:
    await store.services.links.write(layout.tag_index_link(NAME, Tag("old"), ABSENT), ABSENT)
    assert await store.verifications.kinds() == [Kind.TAG_WITHOUT_TARGET]
    assert only(await store.verifications.run(REPAIR), Kind.TAG_WITHOUT_TARGET).outcome is Outcome.LOST
    assert await store.verifications.run() == []


async def test_folder_of_a_tag_without_a_link_is_found_and_removed(tmp_path) -> None:
    """A power cut leaves such folders, and the list of tags names them."""
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        services = CoreServices(storage=storage)
        for folder in ("empty", "half/current", ".DS_Store"):
            (tmp_path / layout.tags(NAME).removeprefix("/") / folder).mkdir(parents=True)
        await services.push_blob(NAME, b"x")
        verifications = Verifications(services)
        kept = replace(verifications, rules=VerificationRules(is_immutable=lambda _name, tag: tag == "half"))
        found = await kept.run(REPAIR)
        assert [(each.kind, each.images[0], each.outcome) for each in found] == [
            (Kind.TAG_WITHOUT_TARGET, f"{NAME}:empty", Outcome.LOST),
            (Kind.TAG_WITHOUT_TARGET, f"{NAME}:half", Outcome.NEEDS_PUSH),
        ]
        assert await services.tag_links.listed(NAME) == ["half"]
        assert len(await verifications.run(REPAIR)) == 1
        assert await services.tag_links.listed(NAME) == []


async def test_repository_whose_name_is_refused_is_found_and_its_data_is_no_orphan(store: Store) -> None:
    for content in (b"hidden", b"manifest"):
        await store.services.storage.write(layout.blob_data(Digest.of(content)), content)
    path = layout.repository_path("Team/app")
    layer, manifest = Digest.of(b"hidden"), Digest.of(b"manifest")
    await store.services.links.write(f"{path}/_layers/sha256/{layer.encoded}/link", layer)
    await store.services.links.write(f"{path}/_manifests/revisions/sha256/{manifest.encoded}/link", manifest)
    for stranger in (f"{path}/readme", f"{layout.repository_path('Other')}/_layers/readme"):
        await store.services.storage.write(stranger, b"no link")
    [found] = await store.verifications.run(REPAIR)
    assert (found.kind, found.key, found.outcome, found.is_left) == (Kind.UNREADABLE_NAME, path, Outcome.FOUND, True)
    assert "2 links" in found.detail


async def test_stale_history_is_reported_and_removed(store: Store) -> None:
    await store.services.links.write(layout.tag_index_link(NAME, Tag("v1"), ABSENT), ABSENT)
    finding = only(await store.verifications.run(REPAIR), Kind.HISTORY_STALE)
    assert (finding.is_damage, finding.outcome) == (False, Outcome.REMOVED)
    assert await store.services.tag_links.resolve(NAME, Tag("v1")) == store.image
    assert await store.verifications.run() == []


async def test_lists_of_referrers_are_rebuilt_from_manifests(store: Store) -> None:
    await store.services.storage.delete_tree(layout.all_referrers(NAME))
    finding = only(await store.verifications.run(REPAIR), Kind.REFERRER_UNLISTED)
    assert (finding.digest, finding.outcome, finding.images) == (store.image, Outcome.REBUILT, ())
    page = await store.services.referrers.page(NAME, store.image)
    assert [descriptor.digest for descriptor in page.items] == [store.signature]
    assert await store.verifications.run() == []


@pytest.mark.parametrize("digest", [ABSENT, None], ids=["gone", "of-another-subject"])
async def test_stale_referrer_is_removed(store: Store, digest: Digest | None) -> None:
    listed = digest or store.child
    await store.services.links.write(layout.referrer_link(NAME, store.image, listed), listed)
    assert only(await store.verifications.run(REPAIR), Kind.REFERRER_STALE).outcome is Outcome.REMOVED
    assert await store.verifications.run() == []


async def test_orphan_is_reported_and_stays(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(Digest.of(b"orphan")), b"orphan")
    finding = only(await store.verifications.run(REPAIR), Kind.ORPHAN)
    assert (finding.digest, finding.is_damage) == (Digest.of(b"orphan"), False)
    assert await store.services.storage.read(finding.key) == b"orphan"


async def test_leftovers_are_reported(store: Store) -> None:
    base = layout.repository(NAME)
    places = {
        f"{layout.BLOBS}/sha256/ab/notes.txt",
        f"{base}/_layers/sha256/stray",
        f"{base}/_manifests/revisions/sha256/stray",
        f"{base}/_manifests/tags/v1/current/link.old",
        f"{base}/_referrers/stray",
        f"{base}/_strange/thing",
    }
    for key in places:
        await store.services.storage.write(key, b"?")
    findings = await store.verifications.run(REPAIR)
    assert {finding.kind for finding in findings} == {Kind.LEFTOVER}
    assert {finding.key for finding in findings} == places


async def test_young_leftovers_are_not_reported(store: Store) -> None:
    await store.services.storage.write(f"{layout.BLOBS}/sha256/ab/notes.txt", b"?")
    await store.services.storage.write(layout.blob_data(Digest.of(b"orphan")), b"orphan")
    assert await store.verifications.run(replace(OPTIONS, grace=OPTIONS.grace.resolution)) == []


async def test_catalog_is_rebuilt(store: Store) -> None:
    ghost, lacking = RepositoryName("a/ghost"), RepositoryName("z/lacking")
    await store.verifications.index.add(ghost)
    await store.verifications.index.add(RepositoryName("zz/ghost"))
    await store.services.push_blob(lacking, b"{}")
    content = (await store.services.manifests.get(NAME, store.signature)).content
    await store.services.manifests.put(lacking, content, "")
    kinds = [Kind.CATALOG_GHOST, Kind.CATALOG_GHOST, Kind.CATALOG_LACKS]
    assert await store.verifications.kinds() == kinds
    findings = await store.verifications.run(REPAIR)
    assert [finding.outcome for finding in findings] == [Outcome.REBUILT] * 3
    assert (await store.verifications.index.page(after="", limit=9)).items == (NAME, lacking)
    assert await store.verifications.run() == []


async def test_cached_repository_does_not_belong_into_the_catalog(store: Store) -> None:
    store.verifications.rules = VerificationRules(is_listed=lambda name: name != NAME)
    assert await store.verifications.kinds(REPAIR) == [Kind.CATALOG_GHOST]
    assert (await store.verifications.index.page(after="", limit=9)).items == ()
    assert await store.verifications.run() == []


async def test_repository_without_manifests_is_a_ghost(store: Store) -> None:
    await store.services.push_blob(RepositoryName("empty"), LAYER)
    await store.verifications.index.add(RepositoryName("empty"))
    assert await store.verifications.kinds(REPAIR) == [Kind.CATALOG_GHOST]
    assert await store.verifications.run() == []


async def test_fast_verification_finds_empty_and_short_data(store: Store) -> None:
    fast = replace(OPTIONS, fast=True)
    await store.services.storage.write(layout.blob_data(store.config), b"")
    await store.services.storage.write(layout.blob_data(store.layer), LAYER[:-1])
    findings = await store.verifications.run(fast)
    damaged = {finding.digest for finding in findings if finding.kind is Kind.CORRUPT_DATA}
    assert damaged == {store.config, store.layer}
    assert {finding.digest for finding in findings if finding.kind is Kind.BLOB_LOST} == damaged


async def test_fast_repair_sets_short_data_aside(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(store.layer), LAYER[:-1])
    findings = await store.verifications.run(replace(REPAIR, fast=True))
    assert only(findings, Kind.CORRUPT_DATA).outcome is Outcome.QUARANTINED
    assert {finding.kind for finding in findings} == {Kind.CORRUPT_DATA, Kind.BLOB_LOST}


async def test_fast_does_not_read_data_of_the_right_size(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(store.layer), LAYER[::-1])
    assert await store.verifications.run(replace(OPTIONS, fast=True)) == []


async def test_one_repository_is_verified_with_its_blobs(store: Store) -> None:
    other = RepositoryName("other")
    await store.services.push_blob(other, b"theirs")
    await store.services.storage.write(layout.blob_data(Digest.of(b"theirs")), b"damaged")
    await store.services.storage.write(layout.blob_data(Digest.of(OTHER_LAYER)), b"damaged")
    findings = await store.verifications.run(replace(OPTIONS, repository=NAME))
    assert only(findings, Kind.CORRUPT_DATA).digest == Digest.of(OTHER_LAYER)
    assert store.verifications.counted.repositories == 1


async def test_trash_that_is_off_records_nothing(store: Store) -> None:
    store.verifications.trash.keep = OPTIONS.grace
    await store.services.tag_links.point(NAME, Tag("ghost"), ABSENT)
    await store.verifications.run(REPAIR)
    assert [entry async for entry in store.verifications.trash.entries()] == []


async def test_empty_store_is_sound(store: Store) -> None:
    await store.services.storage.delete_tree("/")
    store.verifications = Verifications(store.services)
    assert await store.verifications.run() == []
