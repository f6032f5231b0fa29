"""A copy between two storages in memory: copied content, skipped content, reports."""

import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import StorageUnavailableError, UnsupportedError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout, summary_keys
from core.summaries.changes import ChangeLog, ChangeRecorder
from core.transfer import blobs
from core.transfer.copy import Selection, StorageCopy
from core.transfer.tally import Trouble
from tests.support.content import image_index, image_manifest
from tests.support.core_services import NOW, CoreServices, counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import broken_invariants
from tests.support.transfers import CopyRun, memory, registry_tree

APP = RepositoryName("team/app")
NESTED = RepositoryName("team/app/extra")
OCI = media_types.OCI_MANIFEST
V1, V2 = Tag("v1"), Tag("v2")


async def push(services, name, tag, *layers, **fields):
    for content in (b"{}", *layers):
        await services.push_blob(name, content)
    manifest = image_manifest(b"{}", list(layers), **fields)
    tags = [tag] if tag else []
    digest = Digest.of(manifest) if tag is None else None
    return (await services.manifests.put(name, manifest, OCI, digest=digest, tags=tags)).digest


@pytest.fixture
def target(run):
    return CoreServices(storage=run.target)


async def test_everything_arrives_byte_for_byte(services, run, target):
    first = await push(services, APP, V1, b"a", b"b")
    await push(services, APP, V1, b"c")
    await push(services, NESTED, V2, b"a", b"d" * 3_000_000)
    index = image_index([image_manifest(b"{}", [b"c"])])
    await services.manifests.put(APP, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    await push(services, APP, None, b"sig", subject={"mediaType": OCI, "digest": first, "size": 1}, artifactType="a/b")
    await services.uploads.start(APP)
    await services.uploads.sweep()

    done = await run.once()

    assert await registry_tree(run.target) == await registry_tree(services.storage)
    assert await target.keys(layout.TRANSFERS) == set()
    assert await target.keys(layout.uploads(APP)) == set()
    assert await run.names() == [APP, NESTED]
    assert (done.repositories, done.problems, done.tags_copied) == (2, 0, 3)
    assert await broken_invariants(target, APP, NESTED) == []


async def test_second_pass_copies_nothing(services, run):
    await push(services, APP, V1, b"a")
    first = await run.once()
    second = await run.once()
    assert first.changes > 0
    assert (second.changes, second.bytes_sent) == (0, 0)


@pytest.mark.parametrize(("patterns", "expected"), [([], 600), (["team/app"], 300), (["nobody"], 0)])
async def test_size_of_the_transfer_is_estimated(services, run, patterns, expected):
    await push(services, APP, V1, b"a" * 300)
    await run.once()
    await push(services, APP, V1, b"b" * 298)
    await push(services, NESTED, V1, b"c" * 300)
    work = run.work()
    await StorageCopy(work, Selection(patterns=patterns), catalog=run.catalog()).expect()
    known = work.tally.progress.bytes_expected
    # Manifests are among all blobs, and not among the layers that are compared.
    assert expected - 2 <= known <= (expected + 1000 if not patterns else expected)


async def test_layer_missing_in_two_repositories_is_counted_once_and_a_lost_one_never(services, run):
    for name in (APP, NESTED):
        await push(services, name, V1, b"shared" * 100, b"lost" * 100)
    await services.storage.delete([layout.blob_data(Digest.of(b"lost" * 100))])
    work = run.work()
    await StorageCopy(work, Selection(patterns=["team/**"]), catalog=run.catalog()).expect()
    assert work.tally.progress.bytes_expected == len(b"shared" * 100 + b"{}")


async def test_final_pass_copies_only_changes(services, run):
    await push(services, APP, V1, b"a" * 1000)
    await run.once()
    await push(services, APP, V1, b"a" * 1000, b"new")
    done = await run.once()
    assert done.bytes_sent == len(b"new")
    assert (done.blobs_sent, done.layers_linked, done.manifests_copied, done.tags_copied) == (1, 1, 1, 1)
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_blob_of_another_repository_is_not_sent_again(services, run):
    await push(services, APP, V1, b"shared" * 1000)
    await run.once()
    await push(services, NESTED, V1, b"shared" * 1000)
    done = await run.once()
    assert (done.bytes_sent, done.blobs_present, done.layers_linked) == (0, 2, 2)


async def test_only_selected_repositories_are_copied(services, run, target):
    await push(services, APP, V1, b"a")
    await push(services, NESTED, V1, b"b")
    await run.once("team/*")
    assert await run.names() == [APP]
    assert await target.keys(layout.repository(NESTED)) == set()


async def test_deletions_are_copied_only_on_request(services, run, target):
    gone = await push(services, APP, V1, b"a")
    await push(services, APP, V2, b"b")
    await push(services, NESTED, V1, b"c")
    await run.once()
    await services.manifests.delete(APP, gone)
    await services.storage.delete_tree(layout.repository(NESTED))

    kept = await run.once()
    assert (kept.deleted, kept.extra) == (0, 3)
    assert await run.names() == [APP, NESTED]
    assert (await target.manifests.get(APP, V1)).digest == gone

    followed = await run.once(follows_deletions=True)
    assert followed.deleted > 0
    assert await run.names() == [APP]
    links = {key for key in await registry_tree(services.storage) if not key.startswith(layout.BLOBS)}
    assert {key for key in await registry_tree(run.target) if not key.startswith(layout.BLOBS)} == links
    # Data is for garbage collection, and the trash of the target knows what went.
    assert layout.blob_data(Digest.of(b"a")) in await registry_tree(run.target)
    entries = [entry async for entry in target.trash.entries()]
    assert {(entry.repository, entry.by) for entry in entries} == {(APP, "registry copy"), (NESTED, "registry copy")}
    for entry in entries:
        await target.trash_service.restore(entry.id)
    assert (await target.manifests.get(APP, V1)).digest == gone
    assert (await target.manifests.get(NESTED, V1)).digest


async def test_history_and_moved_tags_are_copied(services, run):
    await push(services, APP, V1, b"a")
    await run.once()
    second = await push(services, APP, V1, b"b")
    await services.storage.delete([layout.tag_index_link(APP, V1, second)])
    await run.once(follows_deletions=True)
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_removed_history_is_removed_and_not_restorable(services, run, target):
    first = await push(services, APP, V1, b"a")
    await push(services, APP, V1, b"b")
    await run.once()
    await services.storage.delete([layout.tag_index_link(APP, V1, first)])
    done = await run.once(follows_deletions=True)
    assert done.deleted == 1
    assert await registry_tree(run.target) == await registry_tree(services.storage)
    assert [link async for part in target.trash.all_parts() for link in part.links] == []


async def test_empty_source_never_empties_the_target(run, target):
    await push(target, APP, V1, b"a")
    before = await registry_tree(run.target)
    with pytest.raises(UnsupportedError, match="has no repositories"):
        await run.once(follows_deletions=True)
    assert await registry_tree(run.target) == before


async def test_one_storage_is_not_copied_to_itself(services):
    await push(services, APP, V1, b"a")
    run = CopyRun(services.storage, services.storage)
    with pytest.raises(UnsupportedError, match="same storage"):
        await run.once()
    assert await services.keys(layout.TRANSFERS) == set()


class RebuiltBeforeTheFirstManifest(InMemoryBlobStorage):
    """A target whose catalog another process rebuilds after the copy added the name."""

    rebuild: Callable[[], Awaitable[object]]

    async def write(self, key, content, *, durable=True):
        if "/_manifests/revisions/" in key:
            await self.rebuild()
        await super().write(key, content, durable=durable)


async def test_rebuild_before_the_first_manifest_leaves_no_repository_out_of_the_catalog(services, run):
    await push(services, APP, V1, b"a")
    run.target = RebuiltBeforeTheFirstManifest(now=lambda: NOW)
    run.target.rebuild = run.catalog().rebuild
    await run.once()
    assert await run.names() == [APP]


async def test_dry_run_writes_nothing_and_reports_all(services, run, target):
    await push(services, APP, V1, b"a" * 100)
    would = await run.once(is_dry=True)
    assert await target.keys() == set()
    assert await run.names() == []
    done = await run.once()
    assert (would.blobs_sent, would.bytes_sent, would.tags_copied, would.manifests_copied) == (
        done.blobs_sent,
        done.bytes_sent,
        done.tags_copied,
        done.manifests_copied,
    )


@pytest.mark.parametrize("trouble", [Trouble.DAMAGED, Trouble.MISSING])
async def test_broken_blob_is_skipped_with_its_manifests(services, run, target, trouble):
    await push(services, APP, V1, b"good")
    broken = await push(services, APP, V2, b"bad layer")
    index = image_index([image_manifest(b"{}", [b"bad layer"])])
    await services.manifests.put(APP, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    key = layout.blob_data(Digest.of(b"bad layer"))
    await (services.storage.write(key, b"bad LAYER") if trouble is Trouble.DAMAGED else services.storage.delete([key]))

    done = await run.once()

    told = {(problem.trouble, problem.subject) for problem in run.problems}
    assert told == {
        (trouble, Digest.of(b"bad layer")),
        (Trouble.INCOMPLETE, broken),
        (Trouble.INCOMPLETE, Digest.of(index)),
        (Trouble.INCOMPLETE, "v2"),
        (Trouble.INCOMPLETE, "multi"),
    }
    assert done.problems == len(run.problems)
    assert (await target.manifests.get(APP, V1)).digest
    assert await broken_invariants(target, APP) == []
    assert key not in await registry_tree(run.target)


async def test_broken_manifest_and_links_are_reported(services, run, target):
    await push(services, APP, V1, b"a")
    digest = await push(services, APP, V2, b"b")
    await services.storage.write(layout.blob_data(digest), b"{}")
    await services.storage.write(layout.tag_current_link(APP, Tag("torn")), b"sha2")
    await services.storage.write(layout.layer_link(APP, Digest.of(b"c")), b"")
    await services.storage.write(layout.tag_index_link(APP, Tag("ghost"), digest), digest.encode())

    await run.once()

    assert {(problem.trouble, problem.subject) for problem in run.problems} == {
        (Trouble.DAMAGED, digest),
        (Trouble.INCOMPLETE, "v2"),
        (Trouble.NO_LINK, "torn"),
        (Trouble.NO_LINK, "ghost"),
        (Trouble.NO_LINK, f"sha256/{Digest.of(b'c').encoded}/link"),
    }
    assert await target.tag_links.listed(APP) == ["v1"]


async def test_target_is_read_again_on_demand(services, run):
    digest = await push(services, APP, V1, b"layer")
    await run.once()
    await run.target.write(layout.blob_data(Digest.of(b"layer")), b"LAYER")
    await run.target.write(layout.blob_data(digest), b"x" * len(await run.target.read(layout.blob_data(digest))))
    await run.target.write(layout.layer_link(APP, Digest.of(b"{}")), b"")

    assert (await run.once()).changes == 0
    healed = await run.once(rereads_target=True)

    assert (healed.blobs_sent, healed.manifests_copied) == (1, 1)
    assert await registry_tree(run.target) == await registry_tree(services.storage)
    assert (await run.once(rereads_target=True)).changes == 0


async def test_schema1_arrives_with_signatures_and_sha512_links(services, run):
    layer = await services.push_blob(APP, b"layer")
    payload = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": layer}]}).encode()
    digest, signature = Digest.of(payload), Digest.of(b"signature")
    for content in (payload, b"signature"):
        await services.storage.write(layout.blob_data(Digest.of(content)), content)
    key = f"{layout.signatures(APP, digest)}/sha256/{signature.encoded}/link"
    await services.storage.write(key, signature.encode())
    await services.storage.write(layout.revision_link(APP, digest), digest.encode())
    # As distribution stores a push by sha512: the link of one digest holds the other.
    await services.storage.write(layout.layer_link(APP, Digest.of(b"layer", "sha512")), layer.encode() + b"\n")
    await services.tag_links.point(APP, V1, digest)

    await run.once()

    assert run.problems == []
    assert await registry_tree(run.target) == await registry_tree(services.storage)
    run.target = FaultyBlobStorage(run.target)
    assert (await run.once()).changes == 0
    assert not any(layout.repository(APP) in operation for operation in run.target.mutations)


class Collector:
    """In the place of the guard: a collection that takes everything at the first `takes` confirmations."""

    def __init__(self, storage, takes):
        self._storage = storage
        self._takes = takes

    async def ticket(self):
        return 0.0

    async def confirm(self, _ticket, references):
        if self._takes == 0:
            return ()
        self._takes -= 1
        digests = [need.digest for need in references]
        await self._storage.delete([need.link for need in references])
        await self._storage.delete([layout.blob_data(digest) for digest in digests])
        return digests


@pytest.mark.parametrize("takes", [1, 2])
@pytest.mark.parametrize("before", [0, 1], ids=["new", "known"])
async def test_content_collected_during_the_copy_is_copied_again(services, run, target, takes, before):
    await push(services, APP, V1, b"a")
    index = image_index([image_manifest(b"{}", [b"a"])])
    await services.manifests.put(APP, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    await run.once()
    if before:
        # Only the last manifest and its tag are missing, so its references were confirmed long ago.
        await run.target.delete([layout.revision_link(APP, Digest.of(index))])
        await run.target.delete_tree(layout.tag(APP, Tag("multi")))
    else:
        await run.target.delete_tree("/")
    await run.once(guard=Collector(run.target, takes))
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_layer_collected_and_unlinked_during_the_copy_is_not_copied_again(services, run):
    manifest = await push(services, APP, V1, b"a", b"b")
    await run.once()
    await run.target.delete([layout.revision_link(APP, manifest)])
    await run.target.delete_tree(layout.tag(APP, V1))

    class Unlinking(Collector):
        async def confirm(self, ticket, references):
            await services.storage.delete([layout.layer_link(APP, Digest.of(b"a"))])
            return await super().confirm(ticket, references)

    await run.once(guard=Unlinking(run.target, 1))

    assert run.problems == []
    links = {key for key in await registry_tree(services.storage) if not key.startswith(layout.BLOBS)}
    assert {key for key in await registry_tree(run.target) if not key.startswith(layout.BLOBS)} == links
    assert layout.blob_data(Digest.of(b"b")) in await registry_tree(run.target)
    assert layout.blob_data(Digest.of(b"a")) not in await registry_tree(run.target)


async def test_tag_keeps_its_manifest_from_collection(services, run):
    await push(services, APP, V1, b"a")
    await run.once()
    await run.target.delete_tree(layout.tag(APP, V1))
    await run.once(guard=Collector(run.target, 1))
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_endless_collection_ends_the_copy(services, run):
    await push(services, APP, V1, b"a")
    with pytest.raises(StorageUnavailableError, match="garbage collection at the target removed"):
        await run.once(guard=Collector(run.target, 1000))


async def test_long_blob_resumes_from_its_last_checkpoint(services, run, monkeypatch):
    monkeypatch.setattr(blobs, "CHECKPOINT_BYTES", 2 * 1024 * 1024)
    content = bytes(range(256)) * 4096 * 7
    digest = await services.push_blob(APP, content)
    staged = layout.transfer_data("test", digest)
    async with run.target.open_writer(staged) as writer:
        await writer.write(content[: 3 * 1024 * 1024])

    done = await run.once()

    assert done.bytes_sent == len(content) - 3 * 1024 * 1024
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_damaged_staged_bytes_are_sent_again(services, run, monkeypatch):
    monkeypatch.setattr(blobs, "CHECKPOINT_BYTES", 2 * 1024 * 1024)
    content = bytes(range(256)) * 4096 * 7
    digest = await services.push_blob(APP, content)
    async with run.target.open_writer(layout.transfer_data("test", digest)) as writer:
        await writer.write(b"?" * 3 * 1024 * 1024)

    await run.once()

    assert run.problems == []
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_endless_collection_of_a_manifest_without_references_ends_the_copy(services, run):
    content = b'{"schemaVersion": 7}'
    digest = Digest.of(content)
    await services.storage.write(layout.blob_data(digest), content)
    await services.storage.write(layout.revision_link(APP, digest), digest.encode())
    with pytest.raises(StorageUnavailableError, match="garbage collection at the target removed"):
        await run.once(guard=Collector(run.target, 1000))
    assert layout.revision_link(APP, digest) not in await registry_tree(run.target)


class Purged(FaultyBlobStorage):
    """Has staged bytes that cannot be gone on with, as a store that purged a multipart upload behind its record."""

    is_purged = True

    @asynccontextmanager
    async def open_writer(self, key, **options):
        self.is_purged &= options["resume"]
        if self.is_purged:
            raise StorageUnavailableError("no such upload")
        async with super().open_writer(key, **options) as writer:
            yield writer


async def test_staged_bytes_that_cannot_be_resumed_are_discarded(services, monkeypatch):
    content = bytes(range(256)) * 4096 * 2
    monkeypatch.setattr(blobs, "CHECKPOINT_BYTES", len(content) - 1)
    digest = await services.push_blob(APP, content)
    target = Purged(memory())
    run = CopyRun(services.storage, target)
    async with target.inner.open_writer(layout.transfer_data("test", digest)) as writer:
        await writer.write(content[:1000])
    await run.once()
    assert await registry_tree(run.target) == await registry_tree(services.storage)


class WithoutChecksums(FaultyBlobStorage):
    """Has no checksums, like a folder."""

    async def walk(self, prefix):
        async for key, stat in super().walk(prefix):
            yield key, replace(stat, md5=None)


@pytest.mark.parametrize(
    ("source_kind", "target_kind", "reads"),
    [
        (FaultyBlobStorage, FaultyBlobStorage, (0, 0)),
        (WithoutChecksums, FaultyBlobStorage, (1, 0)),
        (FaultyBlobStorage, WithoutChecksums, (0, 1)),
        (WithoutChecksums, WithoutChecksums, (1, 1)),
    ],
)
async def test_equal_tags_cost_no_read_on_a_store_with_checksums(services, source_kind, target_kind, reads):
    await push(services, APP, V1, b"a")
    source, target = source_kind(services.storage), target_kind(memory())
    run = CopyRun(source, target)
    await run.once()
    source.operations.clear()
    target.operations.clear()
    assert (await run.once()).changes == 0
    read = tuple(sum(each.startswith("read ") for each in side.operations) for side in (source, target))
    assert read == reads
    # And a moved tag is found with and without checksums.
    await push(services, APP, V1, b"b")
    assert (await run.once()).tags_copied == 1
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_changes_of_the_target_are_recorded_and_summaries_are_not_copied(services, run):
    run.changes = ChangeRecorder(run.target, now=lambda: NOW, new_id=counting_ids())
    log = ChangeLog(run.target)

    async def changed():
        listing = await log.listing()
        await run.target.delete_tree(summary_keys.SUMMARIES)
        return [record.repository for record in listing.records]

    await services.storage.write(summary_keys.REPOSITORY_TABLE, b"table of the source")
    await push(services, APP, V1, b"a")
    await push(services, NESTED, V1, b"a")
    await run.once(is_dry=True)
    assert await changed() == []
    await run.once()
    assert await changed() == [APP, NESTED]
    assert summary_keys.REPOSITORY_TABLE not in [key async for key, _ in run.target.walk("/")]
    await run.once()
    assert await changed() == []
    await services.tag_links.remove(APP, [V1])
    await run.once()
    assert await changed() == []
    await run.once(follows_deletions=True)
    assert await changed() == [APP]
