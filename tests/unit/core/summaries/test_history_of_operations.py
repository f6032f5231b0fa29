"""The entries that the operations of the registry leave in the history of a tag, with their authors."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.model.digest import Digest
from core.model.events import Actor
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.ports.registry_target import NewManifest
from core.retention.rules import RetentionRule
from core.store import layout, summary_keys
from core.summaries.changes import ChangeLog, ChangeRecorder
from core.summaries.history import encode, merge, read_history
from core.summaries.tag_history import HistoryQuery
from core.transfer.store_target import StoreTarget
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices, counting_ids
from tests.support.transfers import CopyRun

NAME, V1 = RepositoryName("team/app"), Tag("v1")
ANNA, BOB, CI = Actor("anna"), Actor("bob"), Actor("ci")
IMAGES = [image_manifest(annotations={"number": str(number)}) for number in range(3)]
LETTERS = dict(zip((str(Digest.of(image)) for image in IMAGES), "ABC", strict=True))


class Process:
    """One process on a store, with a clock of its own."""

    def __init__(self, storage, time, *, ahead=timedelta(0), first_id=1, rules=()):
        self.services = CoreServices(storage=storage, retention_rules=rules)
        recorder = ChangeRecorder(storage, now=lambda: time.now() + ahead, new_id=counting_ids(first_id))
        self.registry = replace(self.services.registry(InMemoryCatalogIndex()), changes=recorder)

    async def push(self, letter, *, by=ANNA, tag=V1):
        await self.services.push_blob(NAME, b"{}")
        await self.registry.push_manifest(NAME, IMAGES["ABC".index(letter)], OCI_MANIFEST, by=by, tags=[tag])

    async def history(self, name=NAME):
        """Each entry as text, newest first: the kind, the manifest, and the author or `?` for one without a record."""
        return [
            f"{entry.kind} {LETTERS.get(str(entry.digest))} {entry.by if entry.is_recorded else '?'}"
            for entry in (await self.page(name)).items
        ]

    async def page(self, name=NAME):
        return await self.registry.history.page(name, V1, HistoryQuery())

    async def fold(self):
        """Fold all records of the repository, as the job does."""
        storage, log = self.services.storage, ChangeLog(self.services.storage)
        found = await log.changes(await log.listing(), NAME)
        before = await read_history(storage, NAME)
        assert before is not None
        changes = [(record.id, change) for record, changes in found for change in changes]
        digests = {change.digest for _, change in changes if change.digest is not None}
        summaries = await self.registry.summaries.describe(NAME, digests)
        described = {digest: (summary.media_type, summary.contents[digest]) for digest, summary in summaries.items()}
        after = merge(before, changes, described=described)
        await storage.write(summary_keys.tag_history(NAME), encode(after))
        await storage.delete([summary_keys.change(record.name) for record, _ in found])


@pytest.fixture
def process(storage, time):
    return Process(storage, time)


async def test_pushes_moves_and_deletions_have_their_authors(process, time):
    await process.push("A")
    time.pass_seconds(1)
    await process.push("B", by=CI)
    time.pass_seconds(1)
    await process.registry.delete_manifest(NAME, V1, by=BOB)
    assert await process.history() == ["delete B bob", "push B ci", "push A anna"]
    time.pass_seconds(1)
    await process.push("A")
    time.pass_seconds(1)
    await process.registry.delete_manifest(NAME, Digest.of(IMAGES[0]), by=CI)
    assert (await process.history())[:2] == ["delete A ci", "push A anna"]


async def test_a_restored_tag_has_the_author_of_the_restoration(process, time):
    await process.push("A")
    time.pass_seconds(1)
    await process.registry.delete_manifest(NAME, V1, by=BOB)
    time.pass_seconds(1)
    await process.registry.restore(f"{NAME}:{V1}", by=CI)
    assert await process.history() == ["restore A ci", "delete A bob", "push A anna"]


async def test_the_history_survives_the_repository(process, time):
    await process.push("A")
    time.pass_seconds(1)
    await process.registry.delete_repository(NAME, by=BOB)
    await process.fold()
    assert await process.history() == ["delete A bob", "push A anna"]


async def test_tags_that_retention_deletes_have_its_author(storage, time):
    process = Process(storage, time, rules=[RetentionRule(repositories=("**",), keep_last=1)])
    await process.push("A")
    time.pass_seconds(600)
    await process.push("B", tag=Tag("v2"))
    async for _ in process.registry.apply_retention(by=Actor("retention")):
        pass
    assert await process.history() == ["delete A retention", "push A anna"]


async def test_a_mirror_and_a_copy_to_a_registry_are_authors(process, time):
    image = NewManifest(content=IMAGES[0], media_type=OCI_MANIFEST, digest=Digest.of(IMAGES[0]))
    await process.services.push_blob(NAME, b"{}")
    async with StoreTarget(process.registry, by=Actor("the mirror m"), transfer_id="m") as target:
        await target.put_manifest(NAME, image, [V1])
        time.pass_seconds(1)
        await target.delete_tag(NAME, V1)
    assert await process.history() == ["delete A the mirror m", "push A the mirror m"]


async def test_a_copy_between_stores_leaves_links_whose_newest_is_the_target_of_the_tag(process, time):
    for letter in "BCA":
        await process.push(letter)
        time.pass_seconds(600)
    target = InMemoryBlobStorage(now=time.now)
    await CopyRun(process.services.storage, target).once()
    copied = await Process(target, time).history()
    assert copied[0] == "push A ?"
    assert sorted(copied) == ["push A ?", "push B ?", "push C ?"]


async def test_a_push_that_moves_nothing_is_no_change_although_another_process_records_it(storage, time):
    for process, by in ((Process(storage, time), ANNA), (Process(storage, time, first_id=1_000), BOB)):
        await process.push("A", by=by)
        time.pass_seconds(1)
    assert await process.history() == ["push A anna"]
    await process.registry.delete_manifest(NAME, V1, by=CI)
    time.pass_seconds(1)
    await process.push("A")
    assert await process.history() == ["push A anna", "delete A ci", "push A anna"]


async def test_two_processes_at_once_record_each_change_once(storage, time):
    processes = [Process(storage, time, first_id=1), Process(storage, time, first_id=1_000)]
    async with asyncio.TaskGroup() as group:
        for process, by in zip(processes, (ANNA, BOB), strict=True):
            for letter in "AB" if by is ANNA else "C":
                group.create_task(process.push(letter, by=by))
    found = await processes[0].history()
    recorded = [entry for entry in found if not entry.endswith("?")]
    assert sorted(recorded) == ["push A anna", "push B anna", "push C bob"]
    assert await processes[1].history() == found


async def test_changes_are_sorted_by_the_clocks_of_their_processes(storage, time):
    slow, fast = Process(storage, time), Process(storage, time, ahead=timedelta(seconds=60), first_id=1_000)
    await fast.push("A", by=CI)
    time.pass_seconds(1)
    await slow.push("B")
    assert await slow.history() == await fast.history() == ["push A ci", "push B anna"]


async def test_a_job_that_is_killed_after_it_wrote_the_history_folds_again_without_duplicates(process, time):
    await process.push("A")
    key, content = await record_of(process)
    await process.fold()
    await process.services.storage.write(key, content)
    assert await process.history() == ["push A anna"]
    await process.fold()
    assert await process.history() == ["push A anna"]


async def record_of(process):
    [key] = [key async for key, _ in process.services.storage.walk(summary_keys.CHANGES)]
    return key, await process.services.storage.read(key)


async def test_a_damaged_history_is_passed_over_and_replaced_by_the_next_fold(process, time, caplog):
    await process.push("A")
    await process.fold()
    await process.services.storage.write(summary_keys.tag_history(NAME), b"1\ntorn")
    time.pass_seconds(600)
    await process.push("B")
    assert await process.history() == ["push B anna", "push A ?"]
    assert "tag history ignored: it is damaged" in caplog.text
    await process.fold()
    caplog.clear()
    assert await process.history() == ["push B anna", "push A ?"]
    assert not caplog.text


async def test_pushes_by_distribution_in_between_are_found(process, time):
    await process.push("A")
    time.pass_seconds(600)
    digest = Digest.of(IMAGES[1])
    for key in (
        layout.revision_link(NAME, digest),
        layout.tag_current_link(NAME, V1),
        layout.tag_index_link(NAME, V1, digest),
    ):
        await process.services.storage.write(key, digest.encode())
    time.pass_seconds(600)
    await process.push("C")
    assert await process.history() == ["push C anna", "push B ?", "push A anna"]


async def test_a_manifest_that_is_gone_is_still_described(process, time):
    await process.push("A")
    await process.fold()
    await process.registry.delete_repository(NAME, by=BOB)
    await process.services.storage.delete_tree(layout.BLOBS)
    described = [(entry.media_type, entry.size) for entry in (await process.page()).items]
    assert described == [(OCI_MANIFEST, len(IMAGES[0]))] * 2
