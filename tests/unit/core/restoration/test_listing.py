"""Pages of the trash, with bounded reads."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import PaginationInvalidError, UnknownError
from core.model.digest import Digest
from core.model.events import Actor
from core.model.names import RepositoryName, Tag
from core.restoration import listing
from core.store import layout
from core.store.links import RemovedLink
from core.trash import entry as trash_entry
from core.trash.entry import TrashKind, may_concern, name_at
from tests.support.core_services import NOW, CoreServices
from tests.support.faulty_blob_storage import FaultyBlobStorage

A, B = RepositoryName("a"), RepositoryName("b")
DIGEST = Digest.of(b"image")


@pytest.fixture
def storage():
    return FaultyBlobStorage(InMemoryBlobStorage(now=lambda: NOW))


@pytest.fixture
def services(storage):
    return CoreServices(storage=storage)


async def record(services, name, *tags, kind=TrashKind.TAG):
    entry = services.trash.new_entry(kind, repository=name)
    links = [RemovedLink(layout.tag_current_link(name or A, Tag(tag)), DIGEST) for tag in tags]
    await services.trash.record(entry, links=links)
    return entry


def requests(storage):
    return [operation.partition(" ")[0] for operation in storage.operations]


async def test_page_of_one_repository_reads_no_entry_of_another(services, storage):
    for name in [B] * 30 + [A] * 3 + [None]:
        await record(services, name, kind=TrashKind.COLLECTION if name is None else TrashKind.TAG)
    storage.operations.clear()
    page = await services.trash_service.page(repository=A)
    assert ([removal.entry.repository for removal in page.items], page.has_more) == ([A] * 3, False)
    assert requests(storage) == ["list_children"] + ["read"] * 3


async def test_pages_follow_each_other(services):
    entries = [(await record(services, A, f"v{number}")).id for number in range(40)]
    found, last, sizes = [], "", []
    while True:
        page = await services.trash_service.page(n=15, last=last)
        sizes.append(len(page.items))
        found += [removal.entry.id for removal in page.items]
        last = found[-1]
        if not page.has_more:
            break
    assert (found, sizes) == (entries, [15, 15, 10])
    assert (await services.trash_service.page(n=0)).items == []
    assert (await services.trash_service.page(n=40)).has_more is False
    assert (await services.trash_service.page(last=entries[-1])).items == []


async def test_large_page_is_shortened(services, monkeypatch):
    for number in range(3):
        await record(services, A, f"v{number}")
    monkeypatch.setattr(listing, "PAGE_SIZE_MAX", 2)
    for n in (None, 3, 1000):
        page = await services.trash_service.page(n=n)
        assert (len(page.items), page.has_more) == (2, True)


async def test_large_entry_is_read_in_part(services, storage, monkeypatch):
    monkeypatch.setattr(trash_entry, "PART_ITEMS_MAX", 1)
    large = await record(services, A, *(f"v{number}" for number in range(9)))
    small = await record(services, A, "v9")
    storage.operations.clear()
    first, second = (await services.trash_service.page()).items
    assert (first.entry.id, len(first.tags), first.parts, first.is_complete) == (large.id, 4, 4, False)
    assert (second.entry.id, len(second.tags), second.parts, second.is_complete) == (small.id, 1, 1, True)
    assert requests(storage) == ["list_children"] + ["read"] * 5
    [removal, _] = [removal async for removal in services.trash_service.removals()]
    assert (len(removal.tags), removal.is_complete) == (9, True)
    monkeypatch.setattr(listing, "_PAGE_PARTS_MAX", 4)
    page = await services.trash_service.page()
    assert (len(page.items), page.has_more) == (1, True)


async def test_entry_that_ends_while_it_is_read_is_left_out(services, storage):
    entry = await record(services, A, "v1")
    await storage.write(layout.trash_entry_part(f"{entry.id}x", 0), b"torn")
    assert [removal.entry.id for removal in (await services.trash_service.page()).items] == [entry.id]


def test_names_of_older_versions_may_be_of_any_repository(services):
    entry = services.trash.new_entry(TrashKind.BLOB_LINK, repository=A)
    assert may_concern(entry.id, A)
    assert not may_concern(entry.id, B)
    for old in ("20261124T034756.000000Z-tag-0123456789abcdef", "20261124T034756.000000Z-blob-link-x"):
        assert may_concern(old, A)
    assert not may_concern(services.trash.new_entry(TrashKind.COLLECTION).id, A)
    assert not may_concern("a:v1", A)


async def test_expiry_depends_on_the_kind(services):
    entry = services.trash.new_entry(TrashKind.TAG, repository=A)
    assert services.trash_service.expires_at(entry) == entry.when + services.trash_keep


async def test_entries_are_restored_in_their_own_repository_only(services):
    digest = await services.push_blob(A, b"layer")
    await services.blobs.unlink(A, digest, by=Actor("bob"))
    [removal] = (await services.trash_service.page(repository=A)).items
    old = replace(removal.entry, id="20261124T034756.000000Z-blob-link-0123456789abcdef")
    await services.trash.record(old, links=[RemovedLink(layout.layer_link(A, digest), digest)])
    for name in (removal.entry.id, old.id, "x"):
        with pytest.raises(UnknownError, match="no such entry in the trash"):
            await services.trash_service.restore(name, repository=B)
    assert [each async for each in services.trash_service.removals(B)] == []
    assert (await services.trash_service.page(repository=B)).items == []
    assert (await services.trash_service.restore(old.id, repository=A)).entry == old
    assert (await services.trash_service.restore(removal.entry.id, repository=A)).entry == removal.entry
    assert await services.read_blob(A, digest) == b"layer"


@pytest.fixture
def dated(services):
    """Record one entry per age in hours, and return their ids, oldest first."""

    async def record_all(*hours, name=A):
        ids = []
        for age in sorted(hours, reverse=True):
            when = NOW - timedelta(hours=age)
            made = services.trash.new_entry(TrashKind.TAG, repository=name)
            entry = replace(made, when=when, id=made.id.replace(name_at(NOW), name_at(when)))
            await services.trash.record(entry, links=[RemovedLink(layout.tag_current_link(name, Tag("v1")), DIGEST)])
            ids.append(entry.id)
        return ids

    return record_all


async def newest_ids(services, **options):
    page = await services.trash_service.newest(**options)
    return [removal.entry.id for removal in page.items], page


async def test_newest_entries_come_first_and_pages_lead_both_ways(services, dated):
    ids = (await dated(*range(0, 400, 9)))[::-1]
    first, page = await newest_ids(services, n=20)
    assert (first, page.newer, page.older) == (ids[:20], None, ids[19])
    second, page = await newest_ids(services, n=20, last=page.older)
    assert (second, page.newer, page.older) == (ids[20:40], ids[20], ids[39])
    third, page = await newest_ids(services, n=20, last=page.older)
    assert (third, page.newer, page.older) == (ids[40:], ids[40], None)
    assert (await newest_ids(services, n=20, before=page.newer))[0] == second
    back, page = await newest_ids(services, n=20, before=ids[20])
    assert (back, page.newer, page.older) == (first, None, ids[19])
    back, page = await newest_ids(services, n=15, before=ids[30])
    assert (back, page.newer) == (ids[15:30], ids[15])


async def test_first_page_is_found_without_reading_or_listing_old_entries(services, dated, storage):
    await dated(*range(2, 40), *(0.01 * number for number in range(5)))
    storage.operations.clear()
    await services.trash_service.newest(n=4)
    assert requests(storage) == ["list_children"] + ["read"] * 4


async def test_newest_entries_of_one_repository(services, dated):
    [mine] = await dated(3)
    await dated(1, 2, 30, name=B)
    assert (await newest_ids(services, n=5, repository=A))[0] == [mine]
    assert (await newest_ids(services, n=5, repository=RepositoryName("c")))[0] == []


async def test_newest_page_survives_the_end_of_its_entries(services, dated):
    [only] = await dated(3)
    # No entry is newer, so the first page follows.
    assert (await newest_ids(services, n=5, before=only))[0] == [only]
    assert (await newest_ids(services, n=5, last=only))[0] == []


@pytest.mark.parametrize("text", ["x", "x-tag-y", "00010101T000000.000000Z-tag-x", "20261124T034756.000000Z-tag-x/y"])
async def test_newest_refuses_other_places(services, text):
    for options in ({"last": text}, {"before": text}):
        with pytest.raises(PaginationInvalidError):
            await services.trash_service.newest(n=5, **options)


async def test_newest_refuses_two_places(services, dated):
    [only] = await dated(3)
    with pytest.raises(PaginationInvalidError):
        await services.trash_service.newest(n=5, last=only, before=only)


async def test_one_entry_is_found_by_its_name(services):
    entry = await record(services, A, "v1", "v2")
    removal = await services.trash_service.removal(entry.id)
    assert (removal.entry, len(removal.tags), removal.is_complete) == (entry, 2, True)
    for other in (f"{entry.id}x", "x", f"{entry.id}/x"):
        with pytest.raises(UnknownError):
            await services.trash_service.removal(other)
    assert services.trash_service.is_on
