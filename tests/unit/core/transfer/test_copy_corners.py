"""Sources as they are found: foreign objects, half-deleted images, pushes in the middle of a listing, odd manifests."""

import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import ObjectBusyError, UnsupportedError
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.transfer import blobs
from core.transfer.blobs import BlobTransfer, TransferOutcome
from core.transfer.tally import Trouble
from tests.support.content import image_index, image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.transfers import memory, registry_tree

APP, OTHER = RepositoryName("team/app"), RepositoryName("other")
OCI = media_types.OCI_MANIFEST
V1 = Tag("v1")


async def push(services, name, tag, layer):
    for content in (b"{}", layer):
        await services.push_blob(name, content)
    manifest = image_manifest(b"{}", [layer])
    await services.manifests.put(name, manifest, OCI, tags=[tag])
    return manifest


async def test_damaged_blob_is_read_once_and_reported_for_each_repository(services, run):
    for name in (APP, OTHER):
        await push(services, name, V1, b"layer")
    key = layout.blob_data(Digest.of(b"layer"))
    await services.storage.write(key, b"LAYER")
    run.source = FaultyBlobStorage(services.storage)
    await run.once()
    assert run.source.operations.count(f"open_reader {key}") == 1
    assert {problem.repository for problem in run.problems if problem.trouble is Trouble.DAMAGED} == {APP, OTHER}


async def test_missing_blob_is_reported_in_a_dry_run_too(services, run):
    await push(services, APP, V1, b"layer")
    await services.storage.delete([layout.blob_data(Digest.of(b"layer"))])
    await run.once(is_dry=True)
    assert [problem.trouble for problem in run.problems] == [Trouble.MISSING, Trouble.INCOMPLETE, Trouble.INCOMPLETE]


async def test_blob_that_only_the_target_has_is_not_missing(services, run):
    await push(services, APP, V1, b"layer")
    key = layout.blob_data(Digest.of(b"layer"))
    await run.target.write(key, b"layer")
    await services.storage.delete([key])
    await run.once()
    assert run.problems == []


async def test_missing_or_huge_manifest_is_reported(services, run, monkeypatch):
    gone = await push(services, APP, V1, b"a")
    huge = await push(services, APP, Tag("v2"), b"b" * 3)
    await services.storage.delete([layout.blob_data(Digest.of(gone))])
    await services.storage.write(layout.blob_data(Digest.of(huge)), b" " * (16 * 1024 * 1024 + 1))
    await run.once()
    assert {(problem.trouble, problem.subject) for problem in run.problems} == {
        (Trouble.MISSING, Digest.of(gone)),
        (Trouble.DAMAGED, Digest.of(huge)),
        (Trouble.INCOMPLETE, "v1"),
        (Trouble.INCOMPLETE, "v2"),
    }


async def test_foreign_objects_are_not_copied_and_are_counted(services, run):
    await push(services, APP, V1, b"layer")
    before = await registry_tree(services.storage)
    for key in (
        f"{layout.tags(APP)}/.hidden/current/link",
        f"{layout.revisions(APP)}/README",
        f"{layout.layers(APP)}/sha256/notes.txt",
        f"{layout.REPOSITORIES}/Not_A_Name/_layers/link",
    ):
        await services.storage.write(key, b"?")
    done = await run.once()
    assert done.ignored == 3
    assert await registry_tree(run.target) == before


async def test_folder_that_is_no_repository_is_no_source(services, run):
    await services.storage.write(f"{layout.REPOSITORIES}/Not_A_Name/_layers/link", b"?")
    with pytest.raises(UnsupportedError):
        await run.once(follows_deletions=True)


async def test_foreign_objects_of_the_target_are_left_alone(services, run):
    await push(services, APP, V1, b"layer")
    keys = (f"{layout.tags(APP)}/.hidden/current/link", f"{layout.revisions(APP)}/README")
    for key in keys:
        await run.target.write(key, b"?")
    await push(CoreServices(storage=run.target), OTHER, V1, b"layer")
    await run.index.add(OTHER)
    done = await run.once(follows_deletions=True)
    assert [await run.target.read(key) for key in keys] == [b"?", b"?"]
    assert await run.names() == [APP]
    # Counted are the objects of the source that the target does not get.
    assert done.ignored == 0


async def test_deletions_are_reported_in_a_dry_run_and_not_carried_out(services, run):
    await push(services, APP, V1, b"layer")
    await push(CoreServices(storage=run.target), OTHER, V1, b"layer")
    before = await registry_tree(run.target)
    done = await run.once(follows_deletions=True, is_dry=True)
    assert done.deleted == 4
    assert await registry_tree(run.target) == before


class Listing(FaultyBlobStorage):
    """A listing in which a push came too late for its own key."""

    hidden = ""
    gone = ""
    """A key that is listed and deleted before it is read."""

    async def walk(self, prefix):
        async for key, stat in super().walk(prefix):
            if key != self.hidden:
                yield key, stat
            if key == self.gone:
                await self.inner.delete([key])


async def test_link_that_is_deleted_after_it_was_listed_is_no_problem(services, run):
    await services.push_blob(APP, b"layer")
    await services.push_blob(APP, b"another")
    run.source = Listing(services.storage)
    run.source.gone = layout.layer_link(APP, Digest.of(b"layer"))
    done = await run.once()
    assert (run.problems, done.layers_linked) == ([], 1)


async def test_manifest_that_is_deleted_and_collected_after_it_was_listed_is_no_problem(services, run):
    await push(services, APP, V1, b"layer")
    manifest = image_manifest(b"{}")
    digest = Digest.of(manifest)
    await services.manifests.put(APP, manifest, OCI, digest=digest)
    await services.storage.delete([layout.blob_data(digest)])
    run.source = Listing(services.storage)
    run.source.gone = layout.revision_link(APP, digest)
    await run.once()
    assert run.problems == []
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_layer_link_whose_name_is_no_digest_is_copied_by_its_content(services, run):
    await push(services, APP, V1, b"layer")
    digest = await services.push_blob(OTHER, b"renamed")
    await services.storage.write(f"{layout.layers(APP)}/by-hand/renamed/link", digest.encode())
    await services.storage.delete_tree(layout.repository(OTHER))
    await run.once()
    assert run.problems == []
    assert await registry_tree(run.target) == await registry_tree(services.storage)


class Meanwhile(FaultyBlobStorage):
    """A target during whose last listing something happens at the source."""

    happens: Callable[[], Awaitable[object]]

    async def walk(self, prefix):
        async for item in super().walk(prefix):
            yield item
        if prefix == layout.layers(APP):
            await self.happens()


async def test_image_that_is_pushed_again_after_the_comparison_is_not_deleted(services, run):
    await push(services, APP, Tag("v2"), b"another")
    manifest = await push(services, APP, V1, b"layer")
    await run.once()
    before = await registry_tree(run.target)
    await services.manifests.delete(APP, Digest.of(manifest))
    run.target = Meanwhile(run.target)
    run.target.happens = lambda: push(services, APP, V1, b"layer")
    done = await run.once(follows_deletions=True)
    assert done.deleted == 0
    assert await registry_tree(run.target) == before
    assert [entry async for entry in CoreServices(storage=run.target.inner).trash.entries()] == []


async def test_torn_link_of_the_target_is_deleted_and_the_others_can_be_restored(services, run):
    await push(services, APP, V1, b"layer")
    await run.once()
    target = CoreServices(storage=run.target)
    await push(target, OTHER, V1, b"layer")
    before = await registry_tree(run.target)
    torn = layout.layer_link(OTHER, Digest.of(b"torn"))
    await run.target.write(torn, b"sha2")
    await run.once(follows_deletions=True)
    assert torn not in await registry_tree(run.target)
    (part,) = [part async for part in target.trash.all_parts()]
    assert torn not in {link.key for link in part.links}
    await target.trash_service.restore(part.entry.id)
    assert await registry_tree(run.target) == before


async def test_child_missed_by_a_listing_is_copied_before_its_index(services, run):
    child = await push(services, APP, V1, b"layer")
    index = image_index([child])
    await services.manifests.put(APP, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    run.source = Listing(services.storage)
    run.source.hidden = layout.revision_link(APP, Digest.of(child))
    await run.once()
    assert run.problems == []
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_index_whose_child_was_deleted_is_copied_as_it_is(services, run):
    child = await push(services, APP, V1, b"layer")
    index = image_index([child])
    await services.manifests.put(APP, index, media_types.OCI_INDEX, tags=[Tag("multi")])
    await services.manifests.delete(APP, Digest.of(child))
    await run.once()
    assert run.problems == []
    tree = dict(await registry_tree(services.storage))
    # Its data is garbage, but for the line of history that still names it.
    del tree[layout.blob_data(Digest.of(child))]
    assert await registry_tree(run.target) == tree


async def test_manifest_damaged_in_both_storages_is_reported(services, run):
    manifest = await push(services, APP, V1, b"layer")
    await run.once()
    for storage in (services.storage, run.target):
        await storage.write(layout.blob_data(Digest.of(manifest)), b"rot")
    await run.once(rereads_target=True)
    assert [(problem.trouble, problem.subject) for problem in run.problems] == [(Trouble.DAMAGED, Digest.of(manifest))]


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 1, "fsLayers": [{"blobSum": "?"}, {}, 5, {"blobSum": 5}]},
        {"schemaVersion": 1, "fsLayers": 5},
        {"schemaVersion": 7},
        ["no", "object"],
    ],
)
async def test_manifest_of_unknown_type_is_copied_unchanged(services, run, document):
    content = json.dumps(document).encode()
    digest = Digest.of(content)
    await services.storage.write(layout.blob_data(digest), content)
    await services.storage.write(layout.revision_link(APP, digest), digest.encode())
    await services.tag_links.point(APP, V1, digest)
    await run.once()
    assert run.problems == []
    assert await registry_tree(run.target) == await registry_tree(services.storage)


class SmallPieces(FaultyBlobStorage):
    """Readers that yield as little as some stores send."""

    @asynccontextmanager
    async def open_reader(self, key, *, offset=0, length=None):
        async with super().open_reader(key, offset=offset, length=length) as reader:
            yield _Sliced(reader)


class _Sliced:
    def __init__(self, reader):
        self._reader = reader
        self.size = reader.size

    async def __aiter__(self):
        async for piece in self._reader:
            for start in range(0, len(piece), 50_000):
                yield piece[start : start + 50_000]


async def test_small_pieces_of_a_large_blob_are_hashed_without_a_thread(services, run):
    await push(services, APP, V1, b"layer" * 500_000)
    run.source = SmallPieces(services.storage)
    await run.once()
    assert await registry_tree(run.target) == await registry_tree(services.storage)


async def test_staged_blob_of_another_process_is_not_touched(services, run, monkeypatch):
    monkeypatch.setattr(blobs, "CHECKPOINT_BYTES", 1024 * 1024)
    digest = await services.push_blob(APP, b"layer" * 500_000)
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    transfer = BlobTransfer(run.work(sleep=sleep))
    async with run.target.open_writer(layout.transfer_data("test", digest)):
        with pytest.raises(ObjectBusyError):
            await transfer.copy(digest)
    assert pauses == [1.0, 5.0, 25.0]
    assert await transfer.copy(digest) is TransferOutcome.SENT


class Finished(FaultyBlobStorage):
    """A target on which another run of the same copy removes the staged blob just before its commit."""

    times = 1

    async def carry_out(self, operation, key, call):
        if operation == "commit" and self.times:
            self.times -= 1
            await self.inner.delete_tree(layout.TRANSFERS)
        return await super().carry_out(operation, key, call)


async def test_staged_blob_removed_before_its_commit_is_restarted(services, run):
    await services.push_blob(APP, b"layer" * 500_000)
    run.target = Finished(memory())
    await run.once()
    assert await registry_tree(run.target) == await registry_tree(services.storage)


class Emptied(FaultyBlobStorage):
    """Loses the staged bytes between two blocks, as if they were removed by hand."""

    times = 1

    @asynccontextmanager
    async def open_writer(self, key, **options):
        if options["resume"] and self.times:
            self.times -= 1
            await self.inner.delete_tree(key)
        async with super().open_writer(key, **options) as writer:
            yield writer


async def test_staged_blob_that_shrinks_is_restarted(services, run, monkeypatch):
    monkeypatch.setattr(blobs, "CHECKPOINT_BYTES", 1024 * 1024)
    await services.push_blob(APP, b"layer" * 500_000)
    run.target = Emptied(memory())
    await run.once()
    assert await registry_tree(run.target) == await registry_tree(services.storage)


@pytest.mark.parametrize(("age", "stays"), [(timedelta(days=6), True), (timedelta(days=8), False)])
async def test_staged_blobs_of_an_old_copy_are_removed(services, run, age, stays):
    now = [NOW - age]
    run.target = InMemoryBlobStorage(now=lambda: now[0])
    digest = Digest.of(b"layer")
    # As a folder and an object store have it: staged bytes, or a record of them, that a listing shows.
    await run.target.write(layout.transfer_data("another", digest), b"half")
    now[0] = NOW
    await push(services, APP, V1, b"layer")
    await run.once()
    assert ({key async for key, _ in run.target.walk(layout.TRANSFERS)} != set()) is stays


async def test_marker_of_an_earlier_copy_in_the_source_is_ignored(services, run):
    await push(services, APP, V1, b"layer")
    await services.storage.write(layout.transfer_marker("test"), b"")
    await run.once()
    assert await registry_tree(run.target) == await registry_tree(services.storage)
