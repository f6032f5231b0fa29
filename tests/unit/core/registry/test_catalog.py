"""The catalog follows storage, never fails a push, and forgets nothing that it can remember."""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.listing import ListingCatalogIndex
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import CatalogLostError, PaginationInvalidError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.blob_storage import ObjectStat
from core.registry import catalog
from core.registry.catalog import CatalogService
from core.store import layout
from core.store.repositories import holds_manifest
from tests.contracts.catalog_index_contract import stream

DIGEST = Digest("sha256:" + "a" * 64)
NAME = RepositoryName("library/redis")


class SwitchedIndex(InMemoryCatalogIndex):
    """Can be away, can be lost until it is replaced, and can be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.is_lost = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def add(self, name: RepositoryName) -> bool:
        await self._answer()
        return await super().add(name)

    async def remove(self, name: RepositoryName) -> None:
        await self._answer()
        await super().remove(name)

    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        await self._answer()
        return await super().page(after=after, limit=limit)

    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        if not self.is_lost:
            await self._answer()
        await super().replace_all(names)
        self.is_lost = False

    async def check(self) -> None:
        await self._answer()

    async def _answer(self) -> None:
        await self.may_go_on.wait()
        if self.is_lost:
            self._names.clear()
            raise CatalogLostError("somebody dropped the table")
        if self.is_away:
            raise StorageUnavailableError("MySQL at db:3306 does not accept connections")


class SwitchedStorage(InMemoryBlobStorage):
    is_away = False
    walks = 0

    async def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        self.walks += 1
        if self.is_away:
            raise StorageUnavailableError("the bucket does not answer")
        async for item in super().walk(prefix):
            yield item


def now() -> datetime:
    return datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def storage() -> SwitchedStorage:
    return SwitchedStorage(now=now)


@pytest.fixture
def index() -> SwitchedIndex:
    return SwitchedIndex()


@pytest.fixture
def service(index: SwitchedIndex, storage: SwitchedStorage) -> CatalogService:
    return CatalogService(index, storage=storage, page_size_max=1000)


async def push(storage: InMemoryBlobStorage, name: str) -> RepositoryName:
    """Store the links of a manifest."""
    repository = RepositoryName(name)
    await storage.write(layout.layer_link(repository, DIGEST), DIGEST.encode())
    await storage.write(layout.revision_link(repository, DIGEST), DIGEST.encode())
    return repository


async def delete(storage: InMemoryBlobStorage, name: str) -> RepositoryName:
    """Delete the manifest; the layers stay."""
    repository = RepositoryName(name)
    await storage.delete([layout.revision_link(repository, DIGEST)])
    return repository


async def names(service: CatalogService) -> list[str]:
    return list((await service.page(1000, None)).items)


class TestPage:
    @pytest.fixture(autouse=True)
    async def fill(self, index: SwitchedIndex) -> None:
        for number in range(150):
            await index.add(RepositoryName(f"app-{number:03}"))

    async def test_page_has_a_hundred_names_by_default(self, service):
        page = await service.page(None, None)
        assert (len(page.items), page.has_more) == (100, True)

    async def test_default_page_obeys_a_smaller_maximum(self, index, storage):
        page = await CatalogService(index, storage=storage, page_size_max=7).page(None, None)
        assert len(page.items) == 7

    async def test_reader_obeys_the_maximum_and_hides_names(self, index, storage):
        read = CatalogService(index, storage=storage, page_size_max=7).reader(sees=lambda name: name != "app-001")
        assert list((await read(2, "")).items) == ["app-000", "app-002"]
        page = await read(1_000, "app-140")
        assert (page.items[0], len(page.items), page.has_more) == ("app-141", 7, True)

    async def test_page_begins_after_last(self, service):
        page = await service.page(2, "app-147")
        assert (list(page.items), page.has_more) == (["app-148", "app-149"], False)

    async def test_unknown_last_is_a_bound(self, service):
        page = await service.page(1, "app-147/No Such Thing")
        assert list(page.items) == ["app-148"]

    async def test_page_of_zero_is_empty_even_without_an_index(self, service, index):
        index.is_away = True
        page = await service.page(0, None)
        assert (list(page.items), page.has_more) == ([], False)

    async def test_maximum_page_size_is_allowed(self, service):
        assert len((await service.page(1000, None)).items) == 150

    @pytest.mark.parametrize("n", [1001, 10**18, -1])
    async def test_page_size_beyond_the_maximum_is_refused(self, service, n):
        with pytest.raises(PaginationInvalidError) as caught:
            await service.page(n, None)
        assert caught.value.detail == {"n": n}

    async def test_failing_index_is_an_error_not_an_empty_page(self, service, index):
        index.is_away = True
        with pytest.raises(StorageUnavailableError):
            await service.page(10, None)


class TestRecord:
    async def test_push_is_paged_when_recorded(self, service, storage):
        await service.record_push(await push(storage, NAME))
        assert await names(service) == [NAME]

    async def test_removal_of_the_last_manifest_removes_the_name(self, service, storage):
        await service.record_push(await push(storage, NAME))
        await service.record_removal(await delete(storage, NAME))
        assert await names(service) == []

    async def test_removal_with_manifests_left_keeps_the_name(self, service, storage):
        await service.record_push(await push(storage, NAME))
        await service.record_removal(NAME)
        assert await names(service) == [NAME]

    async def test_removal_with_manifests_left_does_not_reach_the_index(self, service, index, storage):
        """A change of the index would renew the time of the last push."""
        await push(storage, NAME)
        index.is_away = True
        await service.record_removal(NAME)
        assert service.pending == 0

    async def test_push_during_removal_wins(self, storage):
        class PushedInBetween(SwitchedIndex):
            async def remove(self, name: RepositoryName) -> None:
                await push(storage, name)
                await self.add(name)
                await super().remove(name)

        service = CatalogService(PushedInBetween(), storage=storage)
        await service.record_removal(NAME)
        assert await names(service) == [NAME]

    async def test_signatures_and_layers_do_not_count_as_manifests(self, service, storage):
        """Schema 1 signatures outlive their manifest in stores of old registries."""
        await service.record_push(await push(storage, NAME))
        await delete(storage, NAME)
        await storage.write(f"{layout.revision(NAME, DIGEST)}/signatures/sha256/{'b' * 64}/link", b"x")
        await service.record_removal(NAME)
        assert await names(service) == []


class TestAnnouncement:
    async def test_announced_name_is_paged_before_its_manifest_is_stored(self, service, storage):
        await service.announce(NAME)
        assert (await names(service), storage.walks) == ([NAME], 0)

    async def test_announced_name_without_a_manifest_is_removed(self, service):
        await service.announce(NAME)
        await service.record_removal(NAME)
        assert await names(service) == []

    async def test_announcement_during_an_outage_is_written_later(self, service, index, storage):
        index.is_away = True
        await service.announce(NAME)
        await service.record_push(await push(storage, NAME))
        index.is_away = False
        assert await names(service) == [NAME]

    async def test_announcement_without_a_manifest_is_dropped_after_an_outage(self, service, index):
        index.is_away = True
        await service.announce(NAME)
        index.is_away = False
        assert await names(service) == []


class TestRequestsToStorage:
    async def test_push_of_a_known_name_costs_no_request(self, service, storage):
        await service.record_push(await push(storage, NAME))
        storage.walks = 0
        await service.record_push(NAME)
        assert storage.walks == 0

    async def test_first_push_costs_one_request(self, service, storage):
        await service.record_push(await push(storage, NAME))
        assert storage.walks == 1

    @pytest.mark.parametrize(("is_last", "cost"), [(False, 1), (True, 2)])
    async def test_removal_costs_one_request_and_two_for_the_last_manifest(self, service, storage, is_last, cost):
        await service.record_push(await push(storage, NAME))
        if is_last:
            await delete(storage, NAME)
        storage.walks = 0
        await service.record_removal(NAME)
        assert storage.walks == cost

    @pytest.mark.parametrize(("is_known", "cost"), [(True, 1), (False, 2)])
    async def test_missed_push_costs_one_or_two_requests(self, service, index, storage, is_known, cost):
        await push(storage, NAME)
        if is_known:
            await index.add(NAME)
        index.is_away = True
        await service.record_push(NAME)
        index.is_away = False
        storage.walks = 0
        await service.flush_pending()
        assert storage.walks == cost


class TestOutage:
    async def test_push_succeeds_during_an_outage_and_is_written_later(self, service, index, storage):
        index.is_away = True
        await service.record_push(await push(storage, NAME))
        assert service.pending == 1
        index.is_away = False
        assert await service.flush_pending() == 1
        assert (await names(service), service.pending) == ([NAME], 0)

    async def test_removal_succeeds_during_an_outage_and_is_written_later(self, service, index, storage):
        await service.record_push(await push(storage, NAME))
        index.is_away = True
        await service.record_removal(await delete(storage, NAME))
        index.is_away = False
        await service.flush_pending()
        assert await names(service) == []

    async def test_removal_succeeds_while_storage_is_down(self, service, storage):
        await service.record_push(await push(storage, NAME))
        storage.is_away = True
        await service.record_removal(await delete(storage, NAME))
        storage.is_away = False
        await service.flush_pending()
        assert await names(service) == []

    async def test_pending_removal_of_a_pushed_repository_keeps_it(self, service, index, storage):
        await service.record_push(await push(storage, NAME))
        index.is_away = True
        await service.record_removal(await delete(storage, NAME))
        await push(storage, NAME)
        index.is_away = False
        await service.flush_pending()
        assert await names(service) == [NAME]

    async def test_flush_during_the_outage_keeps_what_is_pending(self, service, index, storage):
        index.is_away = True
        await service.record_push(await push(storage, NAME))
        with pytest.raises(StorageUnavailableError):
            await service.flush_pending()
        assert service.pending == 1

    async def test_flush_of_nothing_makes_no_request(self, service, index):
        index.is_away = True
        assert await service.flush_pending() == 0

    async def test_last_change_of_a_name_counts(self, service, index, storage):
        index.is_away = True
        await service.record_push(await push(storage, NAME))
        await service.record_removal(await delete(storage, NAME))
        assert service.pending == 1
        index.is_away = False
        await service.flush_pending()
        assert await names(service) == []

    async def test_change_during_a_flush_does_not_overtake_it(self, service, index, storage):
        index.is_away = True
        await service.record_push(await push(storage, NAME))
        index.is_away = False
        index.may_go_on.clear()
        flush = asyncio.create_task(service.flush_pending())
        await asyncio.sleep(0)
        await service.record_removal(await delete(storage, NAME))
        index.may_go_on.set()
        await flush
        await service.flush_pending()
        assert (await names(service), service.pending) == ([], 0)

    async def test_two_flushes_at_once_write_all(self, service, index, storage):
        index.is_away = True
        for number in range(5):
            await service.record_push(await push(storage, f"a{number}"))
        index.is_away = False
        index.may_go_on.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(service.flush_pending())
            group.create_task(service.flush_pending())
            await asyncio.sleep(0)
            index.may_go_on.set()
        assert (len(await names(service)), service.pending) == (5, 0)

    async def test_cancelled_push_is_remembered(self, service, index, storage):
        index.may_go_on.clear()
        task = asyncio.create_task(service.record_push(await push(storage, NAME)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        index.may_go_on.set()
        await service.flush_pending()
        assert await names(service) == [NAME]

    async def test_changes_beyond_the_limit_are_rebuilt(self, service, index, storage, monkeypatch):
        monkeypatch.setattr(catalog, "PENDING_MAX", 2)
        index.is_away = True
        for name in ("a", "b", "c", "d"):
            await service.record_push(await push(storage, name))
        assert (service.pending, service.forgotten) == (2, 2)
        index.is_away = False
        await service.flush_pending()
        assert await names(service) == ["a", "b", "c", "d"]
        assert (service.pending, service.forgotten) == (0, 0)

    async def test_page_includes_pending_pushes(self, service, index, storage):
        index.is_away = True
        await service.record_push(await push(storage, NAME))
        with pytest.raises(StorageUnavailableError):
            await service.page(None, None)
        index.is_away = False
        assert await names(service) == [NAME]

    async def test_fill_at_start_is_retried_and_its_failure_logged_once(self, service, index, storage, caplog):
        caplog.set_level(logging.INFO, logger="core.registry.catalog")
        await push(storage, NAME)
        index.is_away = True
        assert not await service.catch_up()
        assert not await service.catch_up()
        index.is_away = False
        assert await service.catch_up()
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
        assert await names(service) == [NAME]

    async def test_lost_index_has_no_pages_until_it_is_rebuilt(self, service, index, storage):
        await push(storage, "a")
        await service.catch_up()
        index.is_lost = True
        with pytest.raises(StorageUnavailableError):
            await service.page(None, None)
        await service.record_push(await push(storage, "b"))
        with pytest.raises(StorageUnavailableError, match="is incomplete and is being rebuilt"):
            await service.page(None, None)
        assert await service.catch_up()
        assert await names(service) == ["a", "b"]

    async def test_fill_is_done_once(self, service, index):
        await service.catch_up()
        await index.add(NAME)
        assert await service.catch_up()
        assert await names(service) == [NAME]

    async def test_outage_is_logged_once_and_its_end_too(self, service, index, caplog):
        caplog.set_level(logging.INFO, logger="core.registry.catalog")
        for _ in range(2):
            caplog.clear()
            index.is_away = True
            for name in ("a", "b", "c"):
                await service.record_push(RepositoryName(name))
            index.is_away = False
            await service.flush_pending()
            assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
            assert caplog.records[0].index == "inmemory"


class TestRebuild:
    async def test_only_repositories_with_a_manifest_are_kept(self, service, index, storage):
        for name in ("b", "a/b", "a-b"):
            await push(storage, name)
        await push(storage, "only/layers")
        await delete(storage, "only/layers")
        await storage.write(layout.upload_started_at(RepositoryName("only/upload"), "u"), b"")
        await index.add(RepositoryName("ghost"))
        assert await service.rebuild() == 3
        assert await names(service) == ["a-b", "a/b", "b"]

    async def test_more_than_one_batch_is_checked(self, service, storage):
        for number in range(300):
            await push(storage, f"app/{number}")
            if number % 3 == 0:
                await delete(storage, f"app/{number}")
        assert await service.rebuild() == 200

    async def test_folders_with_illegal_names_are_skipped(self, service, storage):
        await push(storage, "a")
        await storage.write(f"{layout.REPOSITORIES}/Not/A/Name/_manifests/revisions/sha256/x/link", b"")
        assert await service.rebuild() == 1

    async def test_empty_storage_empties_the_index(self, service, index):
        await index.add(NAME)
        assert await service.rebuild() == 0
        assert await names(service) == []

    async def test_push_during_the_rebuild_is_kept(self, index):
        class PushedBehindTheScan(SwitchedStorage):
            async def list_marked(
                self, prefix: str, mark: str, *, after: str = "", passing_over: str = ""
            ) -> AsyncIterator[str]:
                async for path in super().list_marked(prefix, mark, after=after, passing_over=passing_over):
                    yield path
                await replica.record_push(await push(self, "aaa"))

        behind = PushedBehindTheScan(now=now)
        replica = CatalogService(index, storage=behind)
        await push(behind, "b")
        await replica.rebuild()
        assert await names(replica) == ["aaa", "b"]

    async def test_ghost_pushed_by_another_replica_behind_the_scan_is_kept(self, index):
        """Its index has the name already, so that replica writes nothing that this one could see."""

        class PushedBehindTheScan(SwitchedStorage):
            async def list_marked(
                self, prefix: str, mark: str, *, after: str = "", passing_over: str = ""
            ) -> AsyncIterator[str]:
                async for path in super().list_marked(prefix, mark, after=after, passing_over=passing_over):
                    yield path
                await push(self, "aaa/ghost")

        behind = PushedBehindTheScan(now=now)
        for name in ("aaa/ghost", "zzz/ghost"):
            await index.add(RepositoryName(name))
        await push(behind, "b")
        service = CatalogService(index, storage=behind)
        assert await service.rebuild() == 2
        assert await names(service) == ["aaa/ghost", "b"]

    @pytest.mark.parametrize("is_pushed", [True, False])
    async def test_change_by_another_process_behind_the_scan_wins(self, storage, is_pushed):
        class ChangedBehindTheScan(SwitchedIndex):
            async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
                scanned = [name async for name in names]
                # By a process whose index has the name already, or removes a name that is not there yet.
                await (push(storage, NAME) if is_pushed else delete(storage, NAME))
                await super().replace_all(stream(scanned))

        index = ChangedBehindTheScan()
        await (index.add(NAME) if is_pushed else push(storage, NAME))
        service = CatalogService(index, storage=storage)
        await service.rebuild()
        assert await names(service) == ([NAME] if is_pushed else [])

    async def test_rebuild_whose_second_check_fails_is_repeated(self, storage):
        class DeletedBehindTheScan(SwitchedIndex):
            rebuilds = 0

            async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
                await super().replace_all(stream([name async for name in names]))
                self.rebuilds += 1
                if self.rebuilds == 1:
                    await delete(storage, NAME)
                    storage.is_away = True

        await push(storage, NAME)
        await push(storage, "b")
        service = CatalogService(DeletedBehindTheScan(), storage=storage)
        assert not await service.catch_up()
        assert service.forgotten == 2
        storage.is_away = False
        assert await service.catch_up()
        assert (await names(service), service.forgotten) == (["b"], 0)

    async def test_failing_storage_keeps_the_old_set(self, service, index, storage):
        await index.add(NAME)
        await push(storage, "b")
        storage.is_away = True
        with pytest.raises(StorageUnavailableError, match="the bucket does not answer"):
            await service.rebuild()
        assert await names(service) == [NAME]


class TestDerivedIndex:
    @pytest.fixture
    def service(self, storage: SwitchedStorage) -> CatalogService:
        return CatalogService(ListingCatalogIndex(storage), storage=storage)

    async def test_derived_index_is_neither_written_nor_rebuilt(self, service, storage):
        """Not even storage is asked, so its being away does not matter."""
        await push(storage, "a")
        storage.is_away = True
        await service.record_push(RepositoryName("a"))
        await service.record_removal(RepositoryName("a"))
        await service.announce(RepositoryName("b"))
        assert await service.rebuild() == 0
        assert (await names(service), service.pending, service.is_derived) == (["a"], 0, True)

    async def test_upkeep_of_a_derived_index_does_nothing(self, service):
        assert await service.catch_up()
        assert await service.catch_up(fills=False)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["push", "delete", "away", "back", "flush", "rebuild"]),
        st.sampled_from(["a", "a/b", "a-b"]),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_index_is_what_storage_holds_after_any_history(steps):
    async def play() -> None:
        index, storage = SwitchedIndex(), SwitchedStorage(now=now)
        service = CatalogService(index, storage=storage)
        for step, name in [*steps, ("back", ""), ("flush", "")]:
            if step == "push":
                await service.record_push(await push(storage, name))
            elif step == "delete":
                await service.record_removal(await delete(storage, name))
            elif step in {"away", "back"}:
                index.is_away = step == "away"
            elif not index.is_away:
                await (service.flush_pending() if step == "flush" else service.rebuild())
        held = [name for name in ("a", "a-b", "a/b") if await holds_manifest(storage, RepositoryName(name))]
        assert await names(service) == held

    asyncio.run(play())


async def test_trouble_is_reported_while_it_lasts() -> None:
    index = SwitchedIndex()
    service = CatalogService(index, storage=InMemoryBlobStorage(now=lambda: datetime.now(UTC)))
    assert service.trouble == "the index is being rebuilt"
    assert await service.catch_up()
    assert service.trouble == ""
    index.is_away = True
    await service.record_push(NAME)
    assert service.trouble == "the index does not respond"
    index.is_away = False
    assert await service.catch_up()
    assert service.trouble == ""


async def test_trouble_lasts_while_a_removal_does_not_reach_the_index(service, index, storage) -> None:
    await service.catch_up()
    await push(storage, NAME)
    index.is_away = True
    await service.record_push(RepositoryName("other"))
    await service.record_removal(NAME)
    assert service.trouble == "the index does not respond"


async def test_derived_index_has_no_trouble() -> None:
    storage = InMemoryBlobStorage(now=lambda: datetime.now(UTC))
    assert CatalogService(ListingCatalogIndex(storage), storage=storage).trouble == ""


class TestUnlisted:
    """Repositories that the catalog may not list, such as caches of upstreams."""

    @pytest.fixture
    def service(self, index: SwitchedIndex, storage: SwitchedStorage) -> CatalogService:
        return CatalogService(index, storage=storage, lists=lambda name: not name.startswith("quay.io/"))

    async def test_push_does_not_list_them(self, service, index, storage):
        for name in ("quay.io/app", "team/app"):
            await service.announce(await push(storage, name))
            await service.record_push(RepositoryName(name))
        assert (await index.page(after="", limit=9)).items == ("team/app",)

    async def test_rebuild_leaves_them_out(self, service, index, storage):
        for name in ("a/app", "quay.io/app", "z/app"):
            await push(storage, name)
        await index.add(RepositoryName("quay.io/app"))
        assert await service.rebuild() == 2
        assert (await index.page(after="", limit=9)).items == ("a/app", "z/app")

    async def test_removal_takes_a_name_of_an_earlier_configuration_away(self, service, index, storage):
        await index.add(await push(storage, "quay.io/app"))
        await service.record_removal(RepositoryName("quay.io/app"))
        assert (await index.page(after="", limit=9)).items == ()

    @pytest.mark.parametrize("is_derived", [True, False])
    async def test_pages_without_them_are_full(self, index, storage, is_derived):
        listing = ListingCatalogIndex(storage=storage) if is_derived else index
        service = CatalogService(listing, storage=storage, lists=lambda name: not name.startswith("quay.io/"))
        for name in ("a", "quay.io/1", "quay.io/2", "quay.io/3", "z"):
            await index.add(await push(storage, name))
        page = await service.page(2, "")
        assert (list(page.items), page.has_more) == (["a", "z"], False)
        page = await service.page(1, "", sees=lambda name: name != "a")
        assert (list(page.items), page.has_more) == (["z"], False)
        page = await service.page(1, "")
        assert (list(page.items), page.has_more) == (["a"], True)
