"""Everything that mends itself between two looks is no finding, whatever it is."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.trash.entry import TrashKind
from core.verification.context import RepositoryView
from core.verification.findings import Kind, Outcome
from core.verification.manifests import ManifestCheck
from core.verification.rules import VerificationRules
from tests.support.content import image_index
from tests.support.verifications import OPTIONS, REPAIR
from tests.unit.core.verification.conftest import LAYER, NAME, Interposing, Store

ABSENT = Digest.of(b"nobody has this")
Change = Callable[[Store], Awaitable[object]]


def key_of(store: Store, what: str) -> str:
    return {
        "blob": layout.blob_data(store.layer),
        "manifest": layout.blob_data(store.image),
        "layer link": layout.layer_link(NAME, store.layer),
        "revision link": layout.revision_link(NAME, store.child),
        "referrer link": layout.referrer_link(NAME, store.image, store.signature),
        "current": layout.tag_current_link(NAME, Tag("v1")),
    }[what]


@pytest.mark.parametrize("what", ["blob", "manifest", "layer link", "revision link", "referrer link", "current"])
async def test_object_that_comes_back_is_no_finding(store: Store, what: str) -> None:
    key = key_of(store, what)
    content = await store.services.storage.read(key)
    await store.services.storage.delete([key])
    store.verifications.before_second_look = lambda: store.services.storage.write(key, content)
    assert await store.verifications.kinds(REPAIR) == []


@pytest.mark.parametrize(
    "key",
    [
        layout.layer_link(NAME, ABSENT),
        layout.tag_current_link(NAME, Tag("new")),
        layout.tag_index_link(NAME, Tag("new"), ABSENT),
        layout.tag_index_link(NAME, Tag("v1"), ABSENT),
        layout.incomplete_link(NAME, Digest.of(LAYER)),
        f"{layout.repository(NAME)}/_strange/thing",
    ],
    ids=["layer", "tag", "tag-history", "history", "set-aside", "leftover"],
)
@pytest.mark.parametrize("content", [ABSENT.encode(), b"broken"], ids=["dangling", "broken"])
async def test_object_that_vanishes_is_no_finding(store: Store, key: str, content: bytes) -> None:
    await store.services.storage.write(key, content)
    store.verifications.before_second_look = lambda: store.services.storage.delete_tree(key)
    assert await store.verifications.kinds(REPAIR) == []


async def test_layer_pushed_during_the_check_is_no_dangling_link(store: Store) -> None:
    digest = Digest.of(b"pushed meanwhile")
    await store.services.links.write(layout.layer_link(NAME, digest), digest)
    store.verifications.before_second_look = lambda: store.services.push_blob(NAME, b"pushed meanwhile")
    assert await store.verifications.kinds(REPAIR) == []


async def test_size_that_is_right_on_the_second_check_is_no_finding(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(store.layer), LAYER[:-1])
    store.verifications.before_second_look = lambda: store.services.push_blob(NAME, LAYER)
    assert await store.verifications.kinds(REPAIR) == []


async def test_unreadable_manifest_deleted_during_the_check_is_no_finding(store: Store) -> None:
    content = b'{"schemaVersion": 3}'
    digest = Digest.of(content)
    await store.services.storage.write(layout.blob_data(digest), content)
    await store.services.links.write(layout.revision_link(NAME, digest), digest)

    async def replace_by_schema1() -> None:
        await store.services.storage.write(layout.blob_data(digest), b'{"schemaVersion": 1}')

    store.verifications.before_second_look = replace_by_schema1
    assert await store.verifications.kinds() == []


async def test_sizes_that_manifests_misstate_follow_aliases(store: Store) -> None:
    alias = Digest.of(LAYER, "sha512")
    await store.services.links.write(layout.layer_link(NAME, alias), store.layer)
    content = (await store.services.manifests.get(NAME, store.image)).content
    content = content.replace(store.layer.encode(), alias.encode())
    await store.services.manifests.put(NAME, content, "")
    assert await store.verifications.run() == []


async def test_index_that_misstates_the_size_of_a_child_is_reported(store: Store) -> None:
    content = (await store.services.manifests.get(NAME, store.index)).content
    size = len((await store.services.manifests.get(NAME, store.child)).content)
    lying = content.replace(b'"size": %d' % size, b'"size": 1')
    await store.services.manifests.put(NAME, lying, "", tags=[Tag("lying")])
    [finding] = await store.verifications.run()
    assert (finding.kind, finding.digest) == (Kind.WRONG_SIZE, store.child)


async def test_children_of_a_damaged_index_are_verified(store: Store) -> None:
    """The images of an unreadable index are unknown; they are reported by themselves."""
    await store.services.storage.write(layout.blob_data(store.index), b"{}")
    await store.services.storage.write(layout.blob_data(store.layer), b"damaged")
    findings = await store.verifications.run()
    lost = {finding.images for finding in findings if finding.kind is Kind.BLOB_LOST}
    assert (f"{NAME}@{store.child}",) in lost


async def test_one_repository_alone_reads_damaged_manifests(store: Store) -> None:
    # Fast, so that the phase of data does not see it first.
    await store.services.storage.write(layout.blob_data(store.image), b"{}")
    options = OPTIONS.__class__(settle_seconds=0, grace=OPTIONS.grace, fast=True)
    kinds = {finding.kind for finding in await store.verifications.run(options)}
    assert kinds == {Kind.CORRUPT_DATA, Kind.MANIFEST_LOST}


async def test_lost_manifest_comes_back_from_the_trash(store: Store) -> None:
    trash = store.verifications.trash
    entry = trash.new_entry(TrashKind.COLLECTION)
    await trash.record(entry, blobs=[store.index])
    await trash.move_blob(store.index, entry)
    [finding] = await store.verifications.run(REPAIR)
    assert (finding.kind, finding.outcome) == (Kind.MANIFEST_LOST, Outcome.RESTORED)
    assert (await store.services.manifests.get(NAME, Tag("multi"))).digest == store.index


async def test_manifest_set_aside_without_tags_is_removed(store: Store) -> None:
    await store.services.storage.delete([layout.blob_data(store.image)])
    await store.verifications.run(REPAIR)
    await store.services.tag_links.remove(NAME, [Tag("v1"), Tag("latest")])
    [finding] = [each for each in await store.verifications.run(REPAIR) if each.kind is Kind.MANIFEST_LOST]
    assert finding.outcome is Outcome.LOST
    assert await store.verifications.run(REPAIR) == []


async def test_incomplete_manifest_without_references_is_removed(store: Store) -> None:
    await store.services.storage.delete([layout.blob_data(store.layer)])
    await store.verifications.run(REPAIR)
    await store.services.tag_links.remove(NAME, [Tag("v1"), Tag("latest")])
    patient = await store.verifications.run(REPAIR)
    assert {finding.outcome for finding in patient} == {Outcome.NEEDS_PUSH}
    impatient = await store.verifications.run(replace(REPAIR, forget_after=timedelta(0)))
    # The other one is in an index, which is tagged.
    lost = [finding.images for finding in impatient if finding.outcome is Outcome.LOST]
    assert lost == [(f"{NAME}@{store.image}",)]
    left = await store.verifications.run(REPAIR)
    assert {finding.images[0] for finding in left if finding.is_damage} == {f"{NAME}@{store.child}"}


async def test_signatures_of_schema1_are_no_manifests(store: Store) -> None:
    signature = await store.services.push_blob(NAME, b"signature")
    key = f"{layout.signatures(NAME, store.image)}/{signature.algorithm}/{signature.encoded}/link"
    await store.services.links.write(key, signature)
    assert await store.verifications.run() == []


async def test_referrer_that_is_no_manifest_is_stale(store: Store) -> None:
    digest = Digest.of(b"no manifest")
    await store.services.storage.write(layout.blob_data(digest), b"no manifest")
    await store.services.links.write(layout.revision_link(NAME, digest), digest)
    await store.services.links.write(layout.referrer_link(NAME, store.image, digest), digest)
    assert Kind.REFERRER_STALE in await store.verifications.kinds()


async def test_referrer_that_cannot_be_read_stays_listed(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(store.signature), b"damaged")
    await store.verifications.run()
    assert Kind.REFERRER_STALE not in await store.verifications.kinds()


@pytest.mark.parametrize("folder", ["no_algorithm/x/link", "sha256/short/link", "x"])
async def test_stray_objects_among_manifests_are_leftovers(store: Store, folder: str) -> None:
    for base in (layout.revisions(NAME), layout.incomplete(NAME), layout.layers(NAME)):
        await store.services.storage.write(f"{base}/{folder}", b"?")
    await store.services.storage.write(f"{layout.tag(NAME, Tag('v1'))}/index/sha256/{ABSENT.encoded}/other/link", b"?")
    assert await store.verifications.kinds() == [Kind.LEFTOVER] * 4


async def test_foreign_folder_is_skipped(store: Store) -> None:
    await store.services.storage.write(f"{layout.REPOSITORIES}/Not-A-Name/_layers/thing", b"?")
    assert await store.verifications.run() == []


async def test_ghost_pushed_during_the_check_stays(store: Store) -> None:
    name = RepositoryName("b/ghost")
    await store.verifications.index.add(name)

    async def push() -> None:
        await store.services.links.write(layout.revision_link(name, ABSENT), ABSENT)

    store.verifications.before_second_look = push
    assert await store.verifications.run(REPAIR) == []


async def test_missing_name_indexed_during_the_check_is_no_finding(store: Store) -> None:
    await store.verifications.index.remove(NAME)
    store.verifications.before_second_look = lambda: store.verifications.index.add(NAME)
    assert await store.verifications.run(REPAIR) == []


async def test_ghost_pushed_while_it_is_removed_is_added_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = RepositoryName("b/ghost")
    index = store.verifications.index
    await index.add(name)
    remove = index.remove

    async def overtaken(removed: RepositoryName) -> None:
        await store.services.links.write(layout.revision_link(removed, ABSENT), ABSENT)
        await remove(removed)

    monkeypatch.setattr(index, "remove", overtaken)  # a push at the worst moment
    assert await store.verifications.run(REPAIR) == []
    assert name in (await index.page(after="", limit=9)).items


async def test_tag_pushed_during_its_repair_keeps_the_push(store: Store) -> None:
    storage = store.services.storage
    await storage.delete([layout.tag_current_link(NAME, Tag("v1"))])
    create = storage.create

    async def overtaken(key: str, content: bytes) -> bool:
        await store.services.tag_links.point(NAME, Tag("v1"), store.index)
        return await create(key, content)

    storage.create = overtaken  # type: ignore[method-assign] # a push at the worst moment
    assert await store.verifications.run(REPAIR) == []
    assert await store.services.tag_links.resolve(NAME, Tag("v1")) == store.index


async def test_rules_are_lenient_by_default() -> None:
    rules = VerificationRules()
    assert rules.is_immutable(NAME, Tag("v1")) is False


async def test_tag_moved_between_two_checks_is_no_finding(store: Store, interposing: Interposing) -> None:
    await store.services.tag_links.point(NAME, Tag("new"), ABSENT)
    # The order of the checks: tag, manifest, tag.
    interposing.before["read", layout.revision_link(NAME, ABSENT)] = lambda: store.services.tag_links.point(
        NAME, Tag("new"), store.image
    )
    assert await store.verifications.kinds() == []


async def test_tag_moved_before_its_removal_stays(store: Store, interposing: Interposing) -> None:
    await store.services.tag_links.point(NAME, Tag("new"), ABSENT)
    current = layout.tag_current_link(NAME, Tag("new"))

    async def point() -> None:
        await store.services.tag_links.point(NAME, Tag("new"), store.image)

    interposing.at_call["read", current] = (4, point)
    kinds = await store.verifications.kinds(REPAIR)
    assert Kind.TAG_WITHOUT_MANIFEST not in kinds
    assert await store.services.tag_links.resolve(NAME, Tag("new")) == store.image


async def test_tag_repaired_by_a_push_before_the_repair_stays(store: Store, interposing: Interposing) -> None:
    current = layout.tag_current_link(NAME, Tag("v1"))
    await store.services.storage.write(current, b"torn")

    async def point() -> None:
        await store.services.tag_links.point(NAME, Tag("v1"), store.index)

    interposing.at_call["read", current] = (3, point)
    assert await store.verifications.kinds(REPAIR) == []
    assert await store.services.tag_links.resolve(NAME, Tag("v1")) == store.index


async def test_broken_tag_link_that_is_pushed_while_it_is_written_stays(store: Store, interposing: Interposing) -> None:
    current = layout.tag_current_link(NAME, Tag("v1"))
    await store.services.storage.write(current, b"torn")
    interposing.before["create", current] = lambda: store.services.tag_links.point(NAME, Tag("v1"), store.index)
    assert await store.verifications.kinds(REPAIR) == []


async def test_broken_link_that_is_pushed_before_it_is_removed_stays(store: Store, interposing: Interposing) -> None:
    content = b"pushed meanwhile"
    key = layout.layer_link(NAME, Digest.of(content))
    await store.services.storage.write(key, b"torn")
    interposing.at_call["read", key] = (3, lambda: store.services.push_blob(NAME, content))
    assert await store.verifications.kinds(REPAIR) == []
    assert await store.services.read_blob(NAME, Digest.of(content)) == content


async def test_strange_folder_of_a_tag_is_a_leftover(store: Store) -> None:
    await store.services.storage.write(f"{layout.tag(NAME, Tag('v1'))}/strange/sha256/{ABSENT.encoded}/link", b"?")
    assert await store.verifications.kinds() == [Kind.LEFTOVER]


async def test_misstated_size_that_is_corrected_is_no_finding(store: Store) -> None:
    content = (await store.services.manifests.get(NAME, store.image)).content
    lying = content.replace(b'"size": 250', b'"size": 251')
    digest = (await store.services.manifests.put(NAME, lying, "")).digest

    async def remove_blob() -> None:
        await store.services.storage.delete([layout.blob_data(store.layer)])

    store.verifications.before_second_look = remove_blob
    kinds = await store.verifications.kinds()
    assert Kind.WRONG_SIZE not in kinds
    assert digest


async def test_unreadable_manifest_that_is_corrected_is_no_finding(store: Store) -> None:
    content = b'{"schemaVersion": 3}'
    digest = Digest.of(content)
    await store.services.storage.write(layout.blob_data(digest), content)
    await store.services.links.write(layout.revision_link(NAME, digest), digest)
    sound = (await store.services.manifests.get(NAME, store.image)).content
    store.verifications.before_second_look = lambda: store.services.storage.write(layout.blob_data(digest), sound)
    assert await store.verifications.kinds() == []


async def test_record_of_a_deleted_manifest_is_no_finding(store: Store) -> None:
    key = layout.incomplete_link(NAME, store.image)
    await store.services.links.write(key, store.image)
    store.verifications.before_second_look = lambda: store.services.links.delete(key)
    assert await store.verifications.kinds(REPAIR) == []


async def test_number_of_tried_copies_is_limited(store: Store) -> None:
    trash, storage = store.verifications.trash, store.services.storage
    for number in range(5):
        entry = trash.new_entry(TrashKind.COLLECTION)
        await trash.record(entry, blobs=[store.layer])
        await storage.write(layout.trash_blob_copy(store.layer, entry.id), b"damaged %d" % number)
    await storage.delete([layout.blob_data(store.layer)])
    outcomes = {finding.outcome for finding in await store.verifications.run(REPAIR)}
    assert outcomes == {Outcome.NEEDS_PUSH}


async def test_copy_replaced_by_a_push_during_the_check_is_sound(store: Store, interposing: Interposing) -> None:
    trash, key = store.verifications.trash, layout.blob_data(store.layer)
    entry = trash.new_entry(TrashKind.COLLECTION)
    await trash.record(entry, blobs=[store.layer])
    await store.services.storage.write(layout.trash_blob_copy(store.layer, entry.id), b"damaged")
    await store.services.storage.delete([key])
    interposing.before["move", key] = lambda: store.services.push_blob(NAME, LAYER)
    outcomes = {finding.outcome for finding in await store.verifications.run(REPAIR)}
    assert outcomes == {Outcome.RESTORED}
    assert await store.services.read_blob(NAME, store.layer) == LAYER


async def test_left_signatures_make_no_repository(store: Store) -> None:
    name = RepositoryName("old")
    key = f"{layout.signatures(name, store.image)}/sha256/{ABSENT.encoded}/link"
    await store.services.links.write(key, store.layer)
    await store.verifications.index.add(name)
    assert await store.verifications.kinds() == [Kind.CATALOG_GHOST]


async def test_one_repository_with_lost_blobs_is_verified_to_its_end(store: Store) -> None:
    await store.services.storage.delete([layout.blob_data(store.config)])
    options = OPTIONS.__class__(settle_seconds=0, grace=OPTIONS.grace, repository=NAME)
    assert {finding.kind for finding in await store.verifications.run(options)} == {Kind.BLOB_LOST}


async def test_unreadable_index_has_no_children(store: Store) -> None:
    context = await store.verifications.verifier().context(OPTIONS)
    check = ManifestCheck(context, RepositoryView(NAME))
    await store.services.storage.write(layout.blob_data(ABSENT), b"no manifest")
    assert await check.children(ABSENT) == []
    assert await check.children(Digest.of(b"gone")) == []
    assert await check.children(store.index) == [store.child]


@pytest.mark.parametrize("kind", ["no manifest", "docker"])
async def test_media_type_that_changes_before_the_second_check_is_no_finding(store: Store, kind: str) -> None:
    content = (await store.services.manifests.get(NAME, store.index)).content
    types = (media_types.OCI_MANIFEST.encode(), media_types.DOCKER_MANIFEST.encode())
    child = (await store.services.manifests.get(NAME, store.child)).content
    await store.services.manifests.put(NAME, content.replace(*types), "")
    now = child.replace(*types) if kind == "docker" else b"no manifest"
    store.verifications.before_second_look = lambda: store.services.storage.write(layout.blob_data(store.child), now)
    assert Kind.WRONG_MEDIA_TYPE not in await store.verifications.kinds()


async def test_child_that_is_no_manifest_has_no_media_type(store: Store) -> None:
    content = b"no manifest"
    digest = Digest.of(content)
    await store.services.storage.write(layout.blob_data(digest), content)
    await store.services.links.write(layout.revision_link(NAME, digest), digest)
    await store.services.manifests.put(NAME, image_index([content]), "")
    assert await store.verifications.kinds() == [Kind.MANIFEST_UNREADABLE]
