"""Behaviour of the listing alone: it follows storage, and stops reading when the page is full."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.listing import ListingCatalogIndex
from core.errors import StorageUnavailableError
from core.model.names import RepositoryName
from core.store import layout
from tests.contracts.catalog_index_contract import all_names, stream


class CountingStorage(InMemoryBlobStorage):
    """Knows how far its listing was read, and whether that was closed."""

    yielded = 0
    closed = False

    async def list_marked(
        self, prefix: str, mark: str, *, after: str = "", passing_over: str = ""
    ) -> AsyncIterator[str]:
        try:
            async for path in super().list_marked(prefix, mark, after=after, passing_over=passing_over):
                self.yielded += 1
                yield path
        finally:
            self.closed = True


class FailingStorage(InMemoryBlobStorage):
    async def list_marked(self, *_args: object, **_kwargs: object) -> AsyncIterator[str]:
        yield "a"
        raise StorageUnavailableError("the bucket does not answer")

    async def check(self) -> None:
        raise StorageUnavailableError("the bucket does not answer")


def now() -> datetime:
    return datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def storage() -> CountingStorage:
    return CountingStorage(now=now)


async def start_upload(storage: InMemoryBlobStorage, name: str) -> None:
    await storage.write(layout.upload_started_at(RepositoryName(name), "u-1"), b"2026-11-24T00:00:00Z")


async def test_listing_is_derived(storage):
    assert ListingCatalogIndex(storage).is_derived is True


async def test_repository_is_listed_from_its_first_blob_not_from_its_first_upload(storage):
    """As distribution does; on object stores the upload is listed (ADR 3)."""
    await start_upload(storage, "a/b")
    assert await all_names(ListingCatalogIndex(storage)) == []
    await storage.write(f"{layout.REPOSITORIES}/a/b/_layers/sha256/{'a' * 64}/link", b"x")
    assert await all_names(ListingCatalogIndex(storage)) == ["a/b"]


async def test_illegal_names_are_skipped_and_pages_stay_full(storage):
    for path in ("Upper/case", "a", "a..b", "b", "c"):
        await storage.write(f"{layout.REPOSITORIES}/{path}/_layers/x", b"")
    page = await ListingCatalogIndex(storage).page(after="", limit=2)
    assert (list(page.items), page.has_more) == (["a", "b"], True)


async def test_page_reads_one_name_beyond_itself(storage):
    for number in range(50):
        await storage.write(f"{layout.REPOSITORIES}/team/app-{number:02}/_layers/x", b"")
    await ListingCatalogIndex(storage).page(after="team/app-09", limit=3)
    assert storage.yielded == 4
    assert storage.closed


async def test_page_of_zero_reads_nothing(storage):
    await start_upload(storage, "a")
    await ListingCatalogIndex(storage).page(after="", limit=0)
    assert storage.yielded == 0


async def test_replace_all_leaves_the_source_unread(storage):
    """There is nothing to fill, so a scan of storage would be wasted."""
    read = []

    async def watch() -> AsyncIterator[RepositoryName]:
        async for name in stream(["a"]):
            read.append(name)
            yield name

    await ListingCatalogIndex(storage).replace_all(watch())
    assert read == []


async def test_failing_listing_is_an_error_not_a_short_page():
    with pytest.raises(StorageUnavailableError):
        await ListingCatalogIndex(FailingStorage(now=now)).page(after="", limit=10)


async def test_check_uses_the_storage(storage):
    await ListingCatalogIndex(storage).check()
    with pytest.raises(StorageUnavailableError):
        await ListingCatalogIndex(FailingStorage(now=now)).check()
