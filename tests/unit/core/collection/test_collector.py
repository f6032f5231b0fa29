"""Content that a collection keeps and removes, and its report."""

import asyncio
import base64
import contextlib
import json
from datetime import timedelta

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.collection.removing import RoundLostError
from core.collection.report import CollectionReport, Phase
from core.collection.rounds import Batches, Rounds
from core.errors import StorageFullError, StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.trash.entry import TrashKind
from tests.support.collecting_services import is_complete, push_image
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME, OTHER = RepositoryName("a"), RepositoryName("a/b")
CONFIG = b"{}"


@pytest.fixture
def services(store):
    return store.services()


async def grow_old(store, hours=2):
    await store.time.advance(hours * 3600)


async def blobs(store):
    return {key.split("/")[-2] for key in await store.keys(layout.BLOBS)}


def encoded(*contents):
    return {Digest.of(content).encoded for content in contents}


async def test_blobs_of_a_deleted_image_are_removed_and_others_stay(store, services):
    kept = await push_image(services, NAME, CONFIG, [b"shared", b"kept"], tags=["kept"])
    gone = await push_image(services, NAME, b'{"a":1}', [b"shared", b"gone"], tags=["gone"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    report = await store.collect()
    assert await is_complete(services, NAME, kept)
    remaining = await blobs(store)
    assert not remaining & (encoded(b"gone", b'{"a":1}') | {gone.encoded})
    assert (report.blobs_removed, report.layer_links_removed, report.phase) == (3, 2, Phase.DONE)
    assert report.bytes_removed == len(b"gone") + len(b'{"a":1}') + len(
        image_manifest(b'{"a":1}', [b"shared", b"gone"])
    )
    assert report.by_repository[NAME].layer_links_removed == 2


async def test_dry_run_removes_nothing_and_reports_the_same(store, services):
    gone = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    before = await store.keys(layout.BLOBS) | await store.keys(layout.REPOSITORIES)
    dry = await store.collect(is_dry_run=True)
    assert await store.keys(layout.BLOBS) | await store.keys(layout.REPOSITORIES) == before
    wet = await store.collect()
    assert dry.blobs_removed == wet.blobs_removed == 3
    assert dry.bytes_removed == wet.bytes_removed
    assert dry.by_repository == wet.by_repository


async def test_young_objects_stay(store, services):
    """A push may be under way: its layers are there, its manifest is not yet."""
    await services.push_blob(NAME, b"young")
    await services.storage.write(layout.blob_data(Digest.of(b"stray")), b"stray")
    report = await store.collect()
    assert report.blobs_removed == 0
    await grow_old(store)
    report = await store.collect()
    assert report.blobs_removed == 2
    assert await blobs(store) == set()


async def test_untagged_manifests_are_removed_only_on_request(store, services):
    untagged = await push_image(services, NAME, CONFIG, [b"x"])
    await grow_old(store)
    assert (await store.collect()).manifests_removed == 0
    assert await is_complete(services, NAME, untagged)
    report = await store.collect(deletes_untagged=True)
    assert (report.manifests_removed, report.blobs_removed) == (1, 3)


async def test_children_of_a_tagged_index_stay(store, services):
    one = await push_image(services, NAME, b'{"os":1}', [b"one"])
    two = await push_image(services, NAME, b'{"os":2}', [b"two"])
    index = image_index([image_manifest(b'{"os":1}', [b"one"]), image_manifest(b'{"os":2}', [b"two"])])
    await services.manifests.put(NAME, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    await grow_old(store)
    assert (await store.collect(deletes_untagged=True)).manifests_removed == 0
    assert await is_complete(services, NAME, Digest.of(index))
    await services.manifests.delete(NAME, Tag("multi"))
    assert (await store.collect(deletes_untagged=True)).manifests_removed == 3
    assert not await is_complete(services, NAME, one)
    assert not await is_complete(services, NAME, two)
    assert await blobs(store) == set()


@pytest.mark.parametrize("deletes_untagged", [True, False])
async def test_referrers_follow_their_subject(store, services, deletes_untagged):
    image = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    subject = descriptor(image_manifest(CONFIG, [b"x"]), media_types.OCI_MANIFEST)
    sbom = await push_image(services, NAME, b'{"sbom":1}', [], subject=subject)
    sbom_descriptor = descriptor(image_manifest(b'{"sbom":1}', [], subject=subject), media_types.OCI_MANIFEST)
    signature = await push_image(services, NAME, b'{"sig":1}', [], subject=sbom_descriptor)
    await grow_old(store)
    assert (await store.collect(deletes_untagged=deletes_untagged)).manifests_removed == 0
    for digest in (image, sbom, signature):
        assert await is_complete(services, NAME, digest)
    await services.manifests.delete(NAME, image)
    report = await store.collect(deletes_untagged=deletes_untagged)
    assert report.manifests_removed == 2
    assert await store.keys(layout.repository(NAME)) == set()
    assert await blobs(store) == set()


async def test_referrer_without_our_link_follows_its_subject_too(store, services):
    """Distribution has no list of referrers: only the manifest names its subject."""
    await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    subject = descriptor(image_manifest(CONFIG, [b"x"]), media_types.OCI_MANIFEST)
    sbom = await push_image(services, NAME, b'{"sbom":1}', [], subject=subject)
    await store.storage.delete_tree(layout.all_referrers(NAME))
    await grow_old(store)
    assert (await store.collect(deletes_untagged=True)).manifests_removed == 0
    assert await is_complete(services, NAME, sbom)


async def test_tagged_referrer_outlives_its_subject(store, services):
    subject = descriptor(image_manifest(b"never pushed"), media_types.OCI_MANIFEST)
    sbom = await push_image(services, NAME, b'{"sbom":1}', [], subject=subject, tags=["sbom"])
    await grow_old(store)
    await store.collect(deletes_untagged=True)
    assert await is_complete(services, NAME, sbom)


async def test_unused_layer_link_is_removed_and_its_data_stays_for_others(store, services):
    await push_image(services, OTHER, CONFIG, [b"x"], tags=["x"])
    await services.push_blob(NAME, b"x")
    await grow_old(store)
    report = await store.collect()
    assert (report.layer_links_removed, report.blobs_removed) == (1, 0)
    assert await store.keys(layout.layers(NAME)) == set()


async def test_tag_history_and_stale_referrers_are_removed(store, services):
    first = await push_image(services, NAME, CONFIG, [b"1"], tags=["x"])
    await push_image(services, NAME, CONFIG, [b"2"], tags=["x"])
    await services.manifests.delete(NAME, first)
    stale = layout.referrer_link(NAME, first, Digest.of(b"gone for long"))
    await services.links.write(stale, Digest.of(b"gone for long"))
    await services.links.write(layout.tag_index_link(NAME, Tag("empty"), first), first)
    await grow_old(store)
    report = await store.collect()
    assert report.other_links_removed == 3
    keys = await store.keys(layout.repository(NAME))
    assert not [key for key in keys if first.encoded in key or "empty" in key]


async def test_broken_manifests_are_reported_and_kept(store, services):
    for content in (b"not json", json.dumps({"mediaType": "application/x-foreign", "x": Digest.of(b"x")}).encode()):
        digest = Digest.of(content)
        await services.storage.write(layout.blob_data(digest), content)
        await services.links.write(layout.revision_link(NAME, digest), digest)
    await services.push_blob(NAME, b"x")
    await grow_old(store)
    report = await store.collect(deletes_untagged=True)
    assert (report.problem_count, report.manifests_removed, report.blobs_removed) == (2, 0, 0)
    assert all(problem.endswith("not a valid manifest; kept") for problem in report.problems)


async def test_artifact_manifest_keeps_its_blobs(store, services):
    """Other registries stored the artifact manifests of OCI 1.1's release candidates."""
    image = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    content = json.dumps(
        {
            "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
            "blobs": [descriptor(b"sbom", "text/plain")],
            "subject": {"mediaType": media_types.OCI_MANIFEST, "digest": image, "size": 1},
            "x-unknown": Digest.of(b"unknown"),
        }
    ).encode()
    for blob in (b"sbom", b"unknown", b"garbage"):
        await services.push_blob(NAME, blob)
    await services.storage.write(layout.blob_data(Digest.of(content)), content)
    await services.links.write(layout.revision_link(NAME, Digest.of(content)), Digest.of(content))
    await grow_old(store)
    report = await store.collect(deletes_untagged=True)
    assert (report.problem_count, report.blobs_removed) == (0, 1)
    assert encoded(b"sbom", b"unknown", content) <= await blobs(store)


async def test_cache_of_buildkit_keeps_its_layers(store, services):
    cache, layer = b'{"layers": []}', b"cached layer"
    for blob in (cache, layer, b"garbage"):
        await services.push_blob(NAME, blob)
    entries = [
        descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip"),
        descriptor(cache, "application/vnd.buildkit.cacheconfig.v0"),
    ]
    content = json.dumps({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}).encode()
    await services.manifests.put(NAME, content, media_types.OCI_INDEX, tags=[Tag("cache")])
    await grow_old(store)
    report = await store.collect(deletes_untagged=True)
    assert (report.problem_count, report.blobs_removed) == (0, 1)
    assert encoded(cache, layer, content) <= await blobs(store)


async def test_corrupt_manifest_keeps_its_whole_repository(store, services):
    digest = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await services.push_blob(NAME, b"whose?")
    await services.push_blob(OTHER, b"garbage")
    await services.storage.write(layout.blob_data(digest), b"damaged")
    await grow_old(store)
    report = await store.collect()
    assert (report.blobs_removed, report.layer_links_removed) == (1, 1)
    assert encoded(b"x", b"whose?", CONFIG) <= await blobs(store)


async def test_tag_whose_data_is_missing_keeps_its_repository(store, services):
    """A disk that is not mounted must not make everything garbage."""
    digest = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await services.storage.delete([layout.blob_data(digest)])
    await grow_old(store)
    report = await store.collect()
    assert report.blobs_removed == 0
    assert "data is missing" in report.problems[0]


async def test_dangling_revision_keeps_nothing_but_itself(store, services):
    """Distribution's collection leaves such links."""
    digest = await push_image(services, NAME, CONFIG, [b"x"])
    await services.storage.delete([layout.blob_data(digest)])
    await grow_old(store)
    assert (await store.collect(deletes_untagged=True)).blobs_removed == 2
    assert layout.revision_link(NAME, digest) in await store.keys()


async def test_schema1_stays_with_layers_and_signatures(store, services):
    document = {"schemaVersion": 1, "fsLayers": [{"blobSum": Digest.of(b"old layer")}], "history": []}
    payload = json.dumps(document).encode()
    digest, signature = Digest.of(payload), b"signature"
    for content in (payload, signature, b"old layer"):
        await services.storage.write(layout.blob_data(Digest.of(content)), content)
    await services.links.write(layout.revision_link(NAME, digest), digest)
    key = f"{layout.signatures(NAME, digest)}/sha256/{Digest.of(signature).encoded}/link"
    await services.links.write(key, Digest.of(signature))
    await services.links.write(layout.layer_link(NAME, Digest.of(b"old layer")), Digest.of(b"old layer"))
    await services.tag_links.point(NAME, Tag("old"), digest)
    await grow_old(store)
    report = await store.collect(deletes_untagged=True)
    assert report.blobs_removed == report.layer_links_removed == 0
    await services.manifests.delete(NAME, Tag("old"))
    report = await store.collect(deletes_untagged=True)
    assert report.manifests_removed == 0, "schema 1 is kept even untagged: it is told as a problem"


async def test_signature_is_removed_with_its_manifest(store, services):
    """The link of a signature keeps its data only for as long as something needs the manifest."""
    untagged = await push_image(services, NAME, CONFIG, [b"x"])
    signature = Digest.of(b"signature")
    key = f"{layout.signatures(NAME, untagged)}/sha256/{signature.encoded}/link"
    await services.storage.write(layout.blob_data(signature), b"signature")
    await services.links.write(key, signature)
    await grow_old(store)
    assert (await store.collect()).blobs_removed == 0
    assert {key, layout.blob_data(signature)} <= await store.keys()
    report = await store.collect(deletes_untagged=True)
    assert (report.manifests_removed, report.blobs_removed) == (1, 4)
    assert await store.keys(layout.repository(NAME)) == set()
    assert await blobs(store) == set()


async def test_manifest_among_the_layers_stays(store, services):
    payload = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": Digest.of(b"l")}]}).encode()
    digest = Digest.of(payload)
    for content in (payload, b"l"):
        await services.storage.write(layout.blob_data(Digest.of(content)), content)
        await services.links.write(layout.layer_link(NAME, Digest.of(content)), Digest.of(content))
    await services.tag_links.point(NAME, Tag("old"), digest)
    await grow_old(store)
    assert (await store.collect()).blobs_removed == 0
    assert encoded(payload, b"l") <= await blobs(store)


async def test_alias_by_sha512_keeps_its_data(store, services):
    """Distribution stores a sha512 push under sha256 and links the one to the other."""
    layer = b"by sha512"
    alias, stored = Digest.of(layer, "sha512"), Digest.of(layer)
    await services.storage.write(layout.blob_data(stored), layer)
    for digest in (alias, stored):
        await services.links.write(layout.layer_link(NAME, digest), stored)
    await services.push_blob(NAME, CONFIG)
    document = json.loads(image_manifest(CONFIG, [layer]))
    document["layers"][0]["digest"] = alias
    content = json.dumps(document).encode()
    await services.manifests.put(NAME, content, media_types.OCI_MANIFEST, tags=[Tag("x")])
    await grow_old(store)
    assert (await store.collect()).layer_links_removed == 0
    assert await is_complete(services, NAME, Digest.of(content))
    await services.manifests.delete(NAME, Digest.of(content))
    assert (await store.collect()).layer_links_removed == 3
    assert await blobs(store) == set()


async def test_phantom_tags_are_reported_and_kept(store, services):
    await services.tag_links.point(NAME, Tag("phantom"), Digest.of(b"nothing"))
    await services.storage.write(layout.tag_current_link(NAME, Tag("torn")), b"")
    await grow_old(store)
    report = await store.collect()
    assert report.problem_count == 2
    assert layout.tag_current_link(NAME, Tag("phantom")) in await store.keys()


async def write_unnamed_repository(services, path="Team/app"):
    """Store an image under a name that only distribution 2 takes, and return all its digests."""
    config, layer = b'{"hidden":1}', b"hidden layer"
    manifest = image_manifest(config, [layer])
    digest = Digest.of(manifest)
    for content in (config, layer, manifest):
        await services.storage.write(layout.blob_data(Digest.of(content)), content)
    root = layout.repository_path(path)
    # The link of the layer is lost: only the manifest shows that it is needed.
    await services.links.write(f"{root}/_layers/sha256/{Digest.of(config).encoded}/link", Digest.of(config))
    await services.links.write(f"{root}/_manifests/revisions/sha256/{digest.encoded}/link", digest)
    await services.links.write(f"{root}/_manifests/tags/v1/current/link", digest)
    for stranger in (f"{root}/readme", f"{layout.repository_path('Empty')}/_layers/readme"):
        await services.storage.write(stranger, b"no link")
    return encoded(config, layer, manifest)


@pytest.mark.parametrize("is_daring", [False, True])
async def test_repository_whose_name_is_refused_keeps_what_it_needs(store, services, is_daring):
    needed = await write_unnamed_repository(services)
    gone = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    report = await store.collect(is_daring=is_daring)
    assert needed <= await blobs(store)
    assert report.problems == ["Team/app: not a valid repository name, but contains 3 links"]
    assert (report.unreadable, report.blobs_removed, report.blobs_held) == ((1, 3, 0) if is_daring else (1, 0, 3))


async def test_link_of_a_tag_alone_keeps_the_image_of_an_unnamed_repository(store, services):
    needed = await write_unnamed_repository(services)
    await services.storage.delete_tree(f"{layout.repository_path('Team/app')}/_manifests/revisions")
    await grow_old(store)
    await store.collect(is_daring=True)
    assert needed <= await blobs(store)


async def test_checkpoint_keeps_unreadable_keys(store, services):
    await write_unnamed_repository(services)
    gone = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    looks = iter([False])
    await store.collect(goes_on=lambda: next(looks, True))
    report = await store.collect()
    assert (report.unreadable, report.blobs_removed, report.blobs_held) == (1, 0, 3)


@pytest.mark.parametrize(
    "key",
    [
        f"{layout.tags(NAME)}/-invalid/current/link",
        f"{layout.tags(NAME)}/a/b/current/link",
        f"{layout.revisions(NAME)}/sha384/{'0' * 96}/link",
        f"{layout.layers(NAME)}/tarsum.v1/sha256/{'0' * 64}/link",
    ],
)
async def test_link_that_cannot_be_read_keeps_what_it_holds_and_its_repository(store, services, key):
    untagged = await push_image(services, NAME, CONFIG, [b"x"])
    await services.storage.write(layout.blob_data(Digest.of(b"held")), b"held")
    await services.links.write(key, Digest.of(b"held"))
    await grow_old(store)
    report = await store.collect(deletes_untagged="_layers" not in key, is_daring=True)
    assert (report.unreadable, report.blobs_removed) == (1, 0)
    assert await is_complete(services, NAME, untagged)
    assert encoded(b"held") <= await blobs(store)


TORN = {"empty": b"", "garbage": b"\x00" * 71, "missing": None}


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
async def test_tag_that_cannot_be_read_keeps_untagged_manifests_and_its_history(store, services, content):
    image = await push_image(services, NAME, CONFIG, [b"x"], tags=["v1"])
    link = layout.tag_current_link(NAME, Tag("v1"))
    await services.storage.delete([link])
    if content is not None:
        await services.storage.write(link, content)
    await grow_old(store)
    report = await store.collect(deletes_untagged=True)
    assert (report.manifests_removed, report.other_links_removed, report.blobs_removed) == (0, 0, 0)
    assert report.problems == [f"{NAME}:v1: the link is missing or contains no digest; all manifests are kept"]
    assert layout.tag_index_link(NAME, Tag("v1"), image) in await store.keys()
    assert await is_complete(services, NAME, image)


async def finish_on_disk(store, work):
    """Run something whose storage takes real time."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await store.time.advance(1)
        await asyncio.sleep(0.001)
    return await task


async def test_empty_folder_of_a_tag_keeps_untagged_manifests(tmp_path, store, services):
    """A power cut may leave the folders and no link."""
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        on_folder = store.services(storage)
        image = await push_image(on_folder, NAME, CONFIG, [b"x"], tags=["v1"])
        await storage.delete_tree(f"{layout.tag(NAME, Tag('v1'))}/index")
        await storage.delete([layout.tag_current_link(NAME, Tag("v1"))])
        report = await finish_on_disk(
            store, store.collector(storage, is_offline=True, grace=timedelta(0), deletes_untagged=True).run()
        )
        assert (report.manifests_removed, report.problem_count) == (0, 1)
        assert await is_complete(on_folder, NAME, image)
        await on_folder.manifests.delete(NAME, Tag("v1"))
        report = await finish_on_disk(
            store, store.collector(storage, is_offline=True, grace=timedelta(0), deletes_untagged=True).run()
        )
        assert report.manifests_removed == 1


async def test_foreign_keys_are_left_alone(store, services):
    strangers = {
        f"{layout.BLOBS}/sha256/aa/zz/data",
        f"{layout.BLOBS}/readme",
        f"{layout.REPOSITORIES}/UPPER/_layers/sha256/{'a' * 64}/link",
        f"{layout.layers(NAME)}/sha256/nonsense/link",
        f"{layout.all_referrers(NAME)}/sha256/nonsense",
        f"{layout.revisions(NAME)}/sha256/nonsense/link",
        f"{layout.revisions(NAME)}/sha256/{'a' * 64}/signatures/sha256/nonsense/link",
        f"{layout.tags(NAME)}/x/index/sha256/nonsense/link",
        f"{layout.tags(NAME)}/x/other",
        f"{layout.layers(NAME)}/other",
        f"{layout.revisions(NAME)}/sha256/other",
        f"{layout.manifests(NAME)}/other",
        f"{layout.REPOSITORIES}/UPPER/_manifests/revisions/sha256/{'a' * 64}/link",
    }
    for key in strangers:
        await services.storage.write(key, b"")
    await grow_old(store)
    await store.collect()
    assert strangers <= await store.keys()
    await make_garbage(store, services)
    # What cannot be read may need anything: until an operator decides, links go and data stays.
    report = await store.collect()
    assert (report.blobs_removed, report.blobs_held, report.unreadable) == (0, 1, 5)
    report = await store.collect(is_daring=True)
    assert (report.blobs_removed, report.blobs_held) == (1, 0)
    assert strangers <= await store.keys()


async def test_removed_content_lies_in_the_trash(store, services):
    gone = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    await store.collect()
    trash = store.trash()
    assert await trash.return_blob(Digest.of(b"x"))
    entries = [entry async for entry in trash.entries([TrashKind.COLLECTION])]
    assert len(entries) == 1
    parts = [part async for part in trash.parts(entries[0].id)]
    assert {link.target for part in parts for link in part.links} == {Digest.of(b"x"), Digest.of(CONFIG)}


async def test_without_trash_removed_content_is_gone(store, services):
    gone = await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    await store.collect(keep=timedelta(0))
    assert await store.keys(layout.BLOBS) | await store.keys(layout.CONTROL) == {layout.STORE_TIME, layout.CLOCK}
    assert not [entry async for entry in store.trash().entries([TrashKind.COLLECTION])]


async def test_hooks_run_before_marking(store, services):
    """Retention takes the tags away that are then garbage."""
    await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    await grow_old(store)

    async def retain():
        await services.manifests.delete(NAME, Tag("x"))

    assert (await store.collect(deletes_untagged=True, before=[retain])).manifests_removed == 1


async def test_spared_digests_stay_until_their_time_is_over(store, services):
    untagged = await push_image(services, NAME, CONFIG, [b"x"])
    await grow_old(store)
    await services.storage.write(layout.pin(untagged), b"")
    assert (await store.collect(deletes_untagged=True)).blobs_removed == 0
    assert await is_complete(services, NAME, untagged)
    await grow_old(store)
    await store.collect(deletes_untagged=True)
    assert await store.keys(layout.PINS) == set()
    assert (await store.collect(deletes_untagged=True)).blobs_removed == 3


async def test_old_pin_stays_while_another_round_runs(store, services):
    pinned = Digest.of(b"pinned")
    await services.storage.write(layout.pin(pinned), b"")
    await grow_old(store)
    rounds = Rounds(store.storage)

    async def begin_another() -> None:
        await rounds.begin("another", {pinned: Batches(0, 0)}, settle_seconds=1)

    await store.collect(before=[begin_another])
    assert await store.keys(layout.PINS) == {layout.pin(pinned)}
    await store.collect()
    assert await store.keys(layout.PINS) == set()


async def test_offline_run_after_an_online_one_removes_spared_content(store, services):
    """No server is running, so no client relies on pins."""
    await push_image(services, NAME, CONFIG, [b"x"])
    await grow_old(store)
    for content in (b"x", CONFIG):
        await services.storage.write(layout.pin(Digest.of(content)), b"")
    assert (
        await store.collect(deletes_untagged=True, is_offline=True, grace=timedelta(0), is_dry_run=True)
    ).blobs_removed == 3
    assert (await store.collect(deletes_untagged=True, is_offline=True, grace=timedelta(0))).blobs_removed == 3
    assert await store.keys(layout.PINS) == set()


async def test_report_counts_why_content_stays(store, services):
    stray, link = Digest.of(b"stray"), Digest.of(b"link")
    untagged = await push_image(services, NAME, CONFIG, [b"x"])
    await push_image(services, OTHER, CONFIG, [b"y"], tags=["y"])
    await services.storage.write(layout.blob_data(stray), b"stray")
    await services.push_blob(NAME, b"link")
    report = await store.collect()
    assert (report.kept_young, report.kept_pinned, report.kept_untagged) == (2, 0, 0)
    report = await store.collect(deletes_untagged=True)
    assert (report.kept_young, report.kept_pinned, report.kept_untagged) == (3, 0, 0)
    await grow_old(store)
    for digest in (untagged, link):
        await services.storage.write(layout.pin(digest), b"")
    report = await store.collect(is_dry_run=True, deletes_untagged=True)
    assert (report.kept_young, report.kept_pinned, report.kept_untagged) == (0, 2, 0)
    report = await store.collect(is_dry_run=True)
    assert (report.kept_young, report.kept_pinned, report.kept_untagged) == (0, 1, 0)
    await services.storage.delete_tree(layout.PINS)
    report = await store.collect(is_dry_run=True)
    assert (report.kept_young, report.kept_pinned, report.kept_untagged) == (0, 0, 1)


async def test_manifest_spared_in_its_round_keeps_its_content(store, services):
    """A client read it after it was condemned: its layers stay, and so does the history of its tags."""
    overwritten = await push_image(services, NAME, CONFIG, [b"1"], tags=["x"])
    await push_image(services, NAME, CONFIG, [b"2"], tags=["x"])
    other = await push_image(services, NAME, CONFIG, [b"3"])
    await grow_old(store)
    run = asyncio.ensure_future(store.collector(deletes_untagged=True).run())
    await store.time.advance(30)
    assert await store.keys(layout.COLLECTION_ROUNDS)
    await services.storage.write(layout.pin(overwritten), b"")
    report = await store.finish(run)
    assert report.manifests_removed == 1
    assert not await is_complete(services, NAME, other)
    assert await is_complete(services, NAME, overwritten)
    assert layout.tag_index_link(NAME, Tag("x"), overwritten) in await store.keys()


async def test_spared_layer_keeps_its_link(store, services):
    await services.push_blob(NAME, b"x")
    await grow_old(store)
    await services.storage.write(layout.pin(Digest.of(b"x")), b"")
    assert (await store.collect()).layer_links_removed == 0
    assert await services.read_blob(NAME, Digest.of(b"x")) == b"x"


async def test_alias_that_is_spared_in_its_round_keeps_its_data(store, services):
    """Spoken of by its sha512, stored by Distribution under the sha256 that its link holds."""
    alias, stored = Digest.of(b"asked for", "sha512"), Digest.of(b"asked for")
    await services.storage.write(layout.blob_data(stored), b"asked for")
    for digest in (alias, stored):
        await services.links.write(layout.layer_link(NAME, digest), stored)
    await services.push_blob(NAME, b"not asked for")
    await grow_old(store)
    run = asyncio.ensure_future(store.collector().run())
    await store.time.advance(30)
    await services.storage.write(layout.pin(alias), b"")
    report = await store.finish(run)
    assert (report.layer_links_removed, report.blobs_removed) == (1, 1)
    assert await services.read_blob(NAME, alias) == b"asked for"
    assert await blobs(store) == encoded(b"asked for")


async def test_budget_is_kept(store, services):
    for number in range(30):
        await push_image(services, RepositoryName(f"r{number}"), b"%d" % number, [], tags=["x"])
    began_at = store.time.clock()
    await store.finish(store.collector(requests_per_second=10).run())
    assert store.time.clock() - began_at > 8


async def test_progress_is_reported(store, services):
    phases = []
    gone = await push_image(services, NAME, CONFIG, [b"x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    await store.collect(observe=lambda report: phases.append(report.phase))
    assert list(dict.fromkeys(phases)) == list(Phase)


async def test_stopped_run_is_resumed(store, services):
    for number in range(130):
        await push_image(services, RepositoryName(f"r{number:03}"), b"%d" % number, [], tags=["x"])
    gone = await push_image(services, NAME, CONFIG, [b"x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    answers = iter([True, False])
    first = await store.collect(goes_on=lambda: next(answers))
    assert first.phase is Phase.MARKING
    assert first.blobs_removed == 0
    second = await store.collect()
    assert second.phase is Phase.DONE
    assert second.blobs_removed == 3


async def test_killed_run_resumes_from_its_checkpoint(store, services):
    """The manifests that were read need not be read again."""
    images = 200
    for number in range(images):
        await push_image(services, RepositoryName(f"r{number:03}"), b"%d" % number, [], tags=["x"])
    gone = await push_image(services, NAME, CONFIG, [b"x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    faulty = FaultyBlobStorage(store.storage)

    def die(report):
        if report.repositories >= 190:
            faulty.stop_after(0)

    with pytest.raises(StorageUnavailableError):
        await store.finish(store.collector(faulty, requests_per_second=4, observe=die).run())
    counting = FaultyBlobStorage(store.storage)
    report = await store.finish(store.collector(counting).run())
    assert (report.phase, report.blobs_removed, report.repositories) == (Phase.DONE, 3, images + 1)
    reads = [each for each in counting.operations if each.startswith("read ") and "/blobs/" in each]
    assert len(reads) < images / 2


async def test_full_store_is_collected_without_a_checkpoint(store, services, caplog):
    class Full(FaultyBlobStorage):
        async def write(self, key, content, *, durable=True):
            if key.startswith(layout.COLLECTION):
                raise StorageFullError(f"no space left at {key}")
            await super().write(key, content, durable=durable)

    gone = await push_image(services, NAME, CONFIG, [b"x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)
    report = await store.finish(store.collector(Full(store.storage)).run())
    assert (report.phase, report.blobs_removed) == (Phase.DONE, 3)
    assert "checkpoint not saved" in caplog.text


async def test_unreadable_checkpoint_is_not_used(store, services):
    await push_image(services, NAME, CONFIG, [b"x"], tags=["x"])
    for content in (b"nonsense", b"{}", json.dumps({"generation": 1, "key": base64.b16encode(b"k").decode()}).encode()):
        await store.storage.write(layout.collection_checkpoint("state"), content)
        assert (await store.collect()).repositories == 1


async def test_checkpoint_of_other_options_is_not_used(store, services):
    untagged = await push_image(services, NAME, CONFIG, [b"x"])
    await grow_old(store)
    answers = iter([False])
    await store.collect(goes_on=lambda: next(answers))
    assert (await store.collect(deletes_untagged=True)).manifests_removed == 1
    assert not await is_complete(services, NAME, untagged)


async def make_garbage(store, services):
    gone = await push_image(services, NAME, CONFIG, [b"x"])
    await services.manifests.delete(NAME, gone)
    await grow_old(store)


async def test_interrupted_wait_leaves_no_round(store, services):
    await make_garbage(store, services)
    run = asyncio.ensure_future(store.collector().run())
    await store.time.advance(30)
    assert await store.keys(layout.COLLECTION_ROUNDS)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await store.keys(layout.COLLECTION_ROUNDS) == set()
    assert (await store.collect()).blobs_removed == 3


async def test_next_run_ends_the_round_of_a_failed_one(store, services):
    """Wherever it fails for good: nothing that is needed is lost, and all garbage goes in the end."""
    kept = await push_image(services, OTHER, b"kept", [b"kept layer"], tags=["x"])
    await make_garbage(store, services)
    faulty = FaultyBlobStorage(store.storage)
    observed = []

    def note(report):
        observed.append(report.phase)
        if report.phase is Phase.SETTLING:
            faulty.stop_after(len(observed) % 7)

    with pytest.raises(StorageUnavailableError):
        await store.finish(store.collector(faulty, observe=note).run())
    report = await store.collect()
    assert report.phase is Phase.DONE
    assert await is_complete(services, OTHER, kept)
    assert not await blobs(store) & (encoded(b"x") | encoded(CONFIG))


@pytest.mark.parametrize("mutations", range(1, 14))
async def test_collector_killed_anywhere_in_its_round_loses_nothing(store, services, mutations):
    kept = await push_image(services, OTHER, b"kept", [b"kept layer"], tags=["x"])
    await make_garbage(store, services)
    faulty = FaultyBlobStorage(store.storage)

    def die_later(report):
        if report.phase is Phase.SETTLING:
            faulty.stop_after(mutations)

    with contextlib.suppress(StorageUnavailableError):
        await store.finish(store.collector(faulty, observe=die_later).run())
    await store.collect()
    assert await is_complete(services, OTHER, kept)
    assert await store.keys(layout.COLLECTION_ROUNDS) == set()
    assert not await blobs(store) & encoded(b"x", CONFIG)


class LosingBlobStorage(FaultyBlobStorage):
    """Ends the round, as another collector does that takes this one for dead, before a given operation."""

    def __init__(self, inner, operation):
        super().__init__(inner)
        self._operation = operation

    async def carry_out(self, operation, key, call):
        if operation == self._operation and "/_control/" not in key:
            self._operation = None
            for each in [key async for key, _ in self.inner.walk(layout.COLLECTION_ROUNDS)]:
                await self.inner.delete([each])
        return await super().carry_out(operation, key, call)


@pytest.mark.parametrize("operation", ["delete", "move"])
async def test_collector_whose_round_was_ended_restores_all(store, services, operation):
    await make_garbage(store, services)
    before = await store.keys(layout.BLOBS) | await store.keys(layout.layers(NAME))
    collector = store.collector(LosingBlobStorage(store.storage, operation))
    with pytest.raises(RoundLostError):
        await store.finish(collector.run())
    assert await store.keys(layout.BLOBS) | await store.keys(layout.layers(NAME)) == before
    assert (collector.report.blobs_removed, collector.report.bytes_removed) == (0, 0)


async def test_suspended_collector_checks_its_round_before_it_removes(store, services):
    """Its round was ended while it was away: it removes nothing."""
    await make_garbage(store, services)

    class Sleeping(FaultyBlobStorage):
        async def write(self, key, content, *, durable=True):
            if "/_trash/entries/" in key:
                for each in [key async for key, _ in self.inner.walk(layout.COLLECTION_ROUNDS)]:
                    await self.inner.delete([each])
            await super().write(key, content, durable=durable)

    storage = Sleeping(store.storage)
    with pytest.raises(RoundLostError):
        await store.finish(store.collector(storage).run())
    assert not [each for each in storage.operations if each.startswith("move ")]


async def test_too_large_manifest_keeps_its_repository(store, services):
    content = b"x" * (16 * 1024 * 1024 + 1)
    await services.storage.write(layout.blob_data(Digest.of(content)), content)
    await services.links.write(layout.revision_link(NAME, Digest.of(content)), Digest.of(content))
    await services.push_blob(NAME, b"layer")
    await grow_old(store)
    report = await store.collect()
    assert (report.blobs_removed, report.problem_count) == (0, 1)


async def test_damaged_manifest_pushed_during_the_run_keeps_its_repository(store, services):
    """Found at the second look."""
    await services.push_blob(NAME, b"whose?")
    await grow_old(store)
    digest = Digest.of(b"damaged later")
    run = asyncio.ensure_future(store.collector().run())
    await store.time.advance(30)
    await services.storage.write(layout.blob_data(digest), b"damaged")
    await services.links.write(layout.revision_link(NAME, digest), digest)
    report = await store.finish(run)
    assert report.blobs_removed == 0
    assert report.spared == 2


async def test_repositories_that_lost_manifests_are_announced_to_the_catalog(store, services):
    untagged = await push_image(services, NAME, CONFIG, [b"x"])
    await push_image(services, OTHER, CONFIG, [b"x"], tags=["x"])
    await grow_old(store)
    told = []

    async def forget(name):
        told.append(name)

    report = await store.collect(deletes_untagged=True, forget_repository=forget)
    assert (report.manifests_removed, told) == (1, [NAME])
    assert not await is_complete(services, NAME, untagged)


def test_problems_beyond_the_reported_ones_are_counted():
    report = CollectionReport()
    for number in range(1_010):
        report.note_problem(str(number))
    assert (report.problem_count, len(report.problems)) == (1_010, 1_000)
