"""Pages of the trash, with bounded reads."""

from dataclasses import replace

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import UnknownError
from core.model.digest import Digest
from core.model.events import Actor
from core.model.names import RepositoryName, Tag
from core.restoration import listing
from core.store import layout
from core.store.links import RemovedLink
from core.trash import entry as trash_entry
from core.trash.entry import TrashKind, may_concern
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
