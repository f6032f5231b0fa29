"""The trash: entries before removals, copies of their own, and an end that takes nothing else along."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import StorageCorruptError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.store.links import RemovedLink
from core.trash.entry import PART_ITEMS_MAX, TrashKind, decode, encode, kind_of, split
from core.trash.store import Trash
from tests.support.core_services import counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage

NAME = RepositoryName("team/app")
CONTENT = b"a layer"
DIGEST = Digest.of(CONTENT)
DAY = timedelta(days=1)


class Clock:
    """The time of the store and of the process, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 3, 47, 56, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def storage(clock):
    return FaultyBlobStorage(InMemoryBlobStorage(now=clock))


@pytest.fixture
def trash(storage, clock):
    return Trash(storage, now=clock, new_id=counting_ids(), keep=7 * DAY)


def tag_link(tag: str = "v1", digest: Digest = DIGEST) -> RemovedLink:
    return RemovedLink(layout.tag_current_link(NAME, Tag(tag)), digest)


async def collect(trash, *digests):
    entry = trash.new_entry(TrashKind.COLLECTION)
    await trash.record(entry, blobs=digests)
    for digest in digests:
        await trash.move_blob(digest, entry)
    return entry


async def keys(storage, prefix="/"):
    return {key async for key, _ in storage.walk(prefix)}


async def test_entry_survives_encoding(trash):
    entry = trash.new_entry(TrashKind.TAG, repository=NAME, by="alice", reason="by mistake")
    await trash.record(entry, links=[tag_link()])
    assert [found async for found in trash.entries()] == [entry]
    assert [part.links async for part in trash.parts(entry.id)] == [[tag_link()]]


def test_name_contains_time_and_kind(trash):
    entry = trash.new_entry(TrashKind.BLOB_LINK, repository=NAME)
    mark = "r" + sha256(NAME.encode()).hexdigest()[:10]
    assert entry.id == f"20261124T034756.000000Z-blob-link-00000000-0000-4000-8000-000000000001-{mark}"
    assert kind_of(entry.id) is TrashKind.BLOB_LINK
    assert kind_of("20261124T034756.000000Z-other-1") is None


def test_large_entry_is_split(trash):
    entry = trash.new_entry(TrashKind.REPOSITORY, repository=NAME)
    links = [tag_link(f"t{number}") for number in range(PART_ITEMS_MAX + 1)]
    parts = list(split(entry, links, [DIGEST], 7))
    assert [(len(part.links), len(part.blobs), part.blob_bytes) for part in parts] == [
        (PART_ITEMS_MAX, 0, 7),
        (1, 0, 0),
        (0, 1, 0),
    ]
    assert all(decode(encode(part)).entry == entry for part in parts)


async def test_parts_are_read_in_order(trash):
    entry = trash.new_entry(TrashKind.TAG, repository=NAME)
    following = await trash.record(entry, links=[tag_link("v1")])
    assert await trash.record(entry, links=[tag_link("v2")], first_part=following) == 2
    assert [link async for part in trash.parts(entry.id) for link in part.links] == [tag_link("v1"), tag_link("v2")]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"id":1,"kind":"tag"}', b"\xff"])
def test_foreign_content_is_no_entry(content):
    with pytest.raises(StorageCorruptError):
        decode(content)


async def test_unreadable_entry_is_skipped(trash, storage):
    await storage.write(layout.trash_entry_part("20261124T034756.000000Z-tag-x", 0), b"torn")
    entry = trash.new_entry(TrashKind.TAG, repository=NAME)
    await trash.record(entry)
    assert [found.id async for found in trash.entries()] == [entry.id]
    assert [part.entry.id async for part in trash.all_parts()] == [entry.id]
    assert [part async for part in trash.parts("20261124T034756.000000Z-tag-x")] == []


async def test_entries_are_found_by_kind(trash):
    for kind in TrashKind:
        await trash.record(trash.new_entry(kind))
    found = [entry.kind async for entry in trash.entries({TrashKind.MANIFEST, TrashKind.BLOB_LINK})]
    assert found == [TrashKind.BLOB_LINK, TrashKind.MANIFEST]


async def test_blob_is_moved_to_the_trash_and_restored(trash, storage):
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    await collect(trash, DIGEST)
    assert await trash.holds_blob(DIGEST)
    assert layout.blob_data(DIGEST) not in await keys(storage)
    assert await trash.return_blob(DIGEST)
    assert await storage.read(layout.blob_data(DIGEST)) == CONTENT
    assert not await trash.holds_blob(DIGEST)
    assert await trash.return_blob(DIGEST)


async def test_blobs_with_a_common_digest_prefix_are_distinguished(trash, storage):
    """They share a folder."""
    lower, higher = (Digest(f"sha256:{'ab' + number * 62}") for number in "01")
    await storage.write(layout.blob_data(higher), b"higher")
    await collect(trash, higher)
    assert not await trash.holds_blob(lower)
    assert not await trash.return_blob(lower)
    assert await trash.return_blob(higher)


async def test_missing_blob_is_not_restored(trash):
    entry = trash.new_entry(TrashKind.COLLECTION)
    assert not await trash.move_blob(DIGEST, entry)
    assert not await trash.return_blob(DIGEST)


async def test_fresh_push_is_not_replaced_by_old_copy(trash, storage):
    await storage.write(layout.blob_data(DIGEST), b"damaged")
    await collect(trash, DIGEST)
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    assert await trash.return_blob(DIGEST)
    assert await storage.read(layout.blob_data(DIGEST)) == CONTENT


async def test_quarantined_content_never_comes_back_by_digest(trash, storage):
    await storage.write(layout.blob_data(DIGEST), b"damaged")
    entry = trash.new_entry(TrashKind.QUARANTINE)
    await trash.record(entry, blobs=[DIGEST])
    assert await trash.quarantine_blob(DIGEST, entry)
    assert not await trash.return_blob(DIGEST)
    await trash.discard(entry.id)
    assert await keys(storage) == set()


async def test_end_of_an_entry_keeps_blobs_of_another_entry(trash, storage):
    for _ in range(2):
        await storage.write(layout.blob_data(DIGEST), CONTENT)
        await collect(trash, DIGEST)
    first, last = [entry.id async for entry in trash.entries()]
    await trash.discard(first)
    assert await storage.read(layout.trash_blob_copy(DIGEST, last)) == CONTENT


async def test_end_of_an_entry_without_parts_does_nothing(trash):
    assert (await trash.discard("20261124T034756.000000Z-tag-x")).entries == 0


async def test_expiry_removes_only_old_entries(trash, storage, clock):
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    await collect(trash, DIGEST)
    clock.now += 8 * DAY
    young = trash.new_entry(TrashKind.TAG, repository=NAME)
    await trash.record(young, links=[tag_link()])
    summary = await trash.expire()
    assert (summary.entries, summary.blobs) == (1, 1)
    assert await keys(storage, layout.TRASH) == {layout.trash_entry_part(young.id, 0)}


async def test_deleted_tag_is_kept_as_long_as_its_collected_manifest(trash, storage, clock):
    """The trash time counts from the last removal."""
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    await trash.record(trash.new_entry(TrashKind.TAG, repository=NAME), links=[tag_link()])
    clock.now += 5 * DAY
    await collect(trash, DIGEST)
    clock.now += 5 * DAY
    assert (await trash.expire()).entries == 0
    clock.now += 3 * DAY
    assert (await trash.expire()).entries == 2


async def test_age_counts_by_the_time_of_the_store(storage, clock):
    """A process whose clock is a year ahead ends nothing."""
    fast = Trash(storage, now=lambda: clock.now + 365 * DAY, new_id=counting_ids(), keep=DAY)
    await fast.record(fast.new_entry(TrashKind.TAG, repository=NAME), links=[tag_link()])
    assert (await fast.expire()).entries == 0


async def test_running_round_keeps_its_entry(trash, storage, clock):
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    entry = await collect(trash, DIGEST)
    await storage.write(f"{layout.COLLECTION_ROUNDS}/{entry.id}", b"")
    clock.now += 30 * DAY
    assert (await trash.expire()).entries == (await trash.empty()).entries == 0
    await storage.delete([f"{layout.COLLECTION_ROUNDS}/{entry.id}"])
    assert (await trash.empty()).entries == 1


async def test_data_is_kept_for_an_hour_at_least(storage, clock):
    trash = Trash(storage, now=clock, new_id=counting_ids(), keep=timedelta(0))
    assert not trash.is_on
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    await collect(trash, DIGEST)
    clock.now += timedelta(minutes=59)
    assert (await trash.expire()).entries == 0
    clock.now += timedelta(minutes=2)
    assert (await trash.expire()).entries == 1


async def test_blob_link_is_kept_as_long_as_its_data(trash, storage, clock):
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    link = RemovedLink(layout.layer_link(NAME, DIGEST), DIGEST)
    await trash.record(trash.new_entry(TrashKind.BLOB_LINK, repository=NAME), links=[link])
    clock.now += 7 * DAY
    await collect(trash, DIGEST)
    clock.now += DAY
    assert (await trash.expire()).entries == 0


async def test_names_with_a_common_prefix_are_distinguished(trash, storage):
    entry = trash.new_entry(TrashKind.TAG, repository=NAME)
    await trash.record(entry, links=[tag_link()])
    await storage.write(f"{layout.TRASH_ENTRIES}/{entry.id}-other.000000", b"somebody's")
    await storage.write(f"{layout.TRASH_ENTRIES}/readme", b"somebody's")
    assert [part.links async for part in trash.parts(entry.id)] == [[tag_link()]]
    assert (await trash.expire()).entries == 0
    await trash.discard(entry.id)
    assert len(await keys(storage, layout.TRASH_ENTRIES)) == 2


async def test_entry_that_ends_while_it_is_listed_is_skipped(trash, storage, monkeypatch):
    entry = trash.new_entry(TrashKind.TAG, repository=NAME)
    await trash.record(entry)
    read = storage.read

    async def read_late(key, **options):
        await storage.delete([key])
        return await read(key, **options)

    monkeypatch.setattr(storage, "read", read_late)
    assert [found async for found in trash.entries()] == []


async def test_copy_moved_by_another_restoration_is_found_at_its_target(trash, storage, monkeypatch):
    """Two restorations want the same blob; the slower one finds it where it belongs."""
    await storage.write(layout.blob_data(DIGEST), CONTENT)
    await collect(trash, DIGEST)
    move = storage.move

    async def move_twice(source, target):
        await move(source, target)
        await move(source, target)

    monkeypatch.setattr(storage, "move", move_twice)
    assert await trash.return_blob(DIGEST)


async def test_many_entries_end_with_few_requests(trash, storage, clock):
    for number in range(100):
        await trash.record(trash.new_entry(TrashKind.TAG, repository=NAME), links=[tag_link(f"t{number}")])
    storage.operations.clear()
    assert (await trash.empty()).entries == 100
    assert len([operation for operation in storage.operations if operation.startswith("delete")]) == 1
    assert len(storage.operations) == 100 + 4
    assert await keys(storage) == set()


async def test_many_entries_end_in_steps(trash, storage, monkeypatch):
    monkeypatch.setattr("core.trash.store.KEYS_PER_REQUEST", 16)
    for number in range(40):
        await trash.record(trash.new_entry(TrashKind.TAG, repository=NAME), links=[tag_link(f"t{number}")])
    assert (await trash.empty()).entries == 40
    assert await keys(storage) == set()


async def test_kill_during_discard_leaves_what_can_be_discarded_again(trash, storage):
    others = [Digest.of(str(number).encode()) for number in range(3)]
    mutations = 0
    while True:
        for digest in others:
            await storage.write(layout.blob_data(digest), b"x")
        entry = await collect(trash, *others)
        await trash.record(entry, links=[tag_link()], first_part=1)
        storage.stop_after(mutations)
        try:
            await trash.discard(entry.id)
            ended = True
        except StorageUnavailableError:
            ended = False
        storage.heal()
        assert ended or entry.id in [found.id async for found in trash.entries()]
        await trash.empty()
        assert await keys(storage) == set()
        if ended:
            break
        mutations += 1
    assert mutations > 1


async def test_emptying_counts_the_bytes_of_an_entry_whose_first_part_holds_links(services):
    trash = services.trash
    entry = trash.new_entry(TrashKind.COLLECTION)
    await services.storage.write(layout.blob_data(Digest.of(b"data")), b"data")
    link = RemovedLink(layout.layer_link(RepositoryName("a"), Digest.of(b"data")), Digest.of(b"data"))
    await trash.record(entry, links=[link], blobs=[Digest.of(b"data")], blob_bytes=4)
    await trash.move_blob(Digest.of(b"data"), entry)
    summary = await trash.empty()
    assert (summary.entries, summary.blobs, summary.blob_bytes) == (1, 1, 4)
