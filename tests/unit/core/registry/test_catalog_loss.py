"""A lost index: one process fills it, the others wait, and none answers an incomplete list or reports a false fault."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CatalogUnavailableError, StorageUnavailableError
from core.model.names import RepositoryName
from core.ports.blob_storage import ObjectStat
from core.registry.catalog import CatalogService
from tests.unit.core.registry.test_catalog import SwitchedIndex, SwitchedStorage, delete, names, push

ALL = [f"app-{number}" for number in range(5)]
MANY = 300
"""More repositories than each process would look at."""


def now() -> datetime:
    return datetime(2026, 11, 30, tzinfo=UTC)


class SlowStorage(SwitchedStorage):
    """Looks at no repository while it is held."""

    def __init__(self) -> None:
        super().__init__(now=now)
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def walk(self, prefix: str) -> AsyncIterator[tuple[str, ObjectStat]]:
        await self.goes_on.wait()
        async for item in super().walk(prefix):
            yield item


@pytest.fixture
async def storage() -> SlowStorage:
    storage = SlowStorage()
    for name in ALL:
        await push(storage, name)
    return storage


@pytest.fixture
def index() -> SwitchedIndex:
    index = SwitchedIndex()
    index.is_lost = True
    return index


@pytest.fixture
def filler(index: SwitchedIndex, storage: SlowStorage) -> CatalogService:
    """The first process of a replica."""
    return CatalogService(index, storage=storage)


@pytest.fixture
def waiter(index: SwitchedIndex, storage: SlowStorage) -> CatalogService:
    """Another process of it."""
    return CatalogService(index, storage=storage)


@pytest.fixture(autouse=True)
def log_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="core.registry.catalog")


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


async def assert_refused(*services: CatalogService) -> None:
    for service in services:
        with pytest.raises(CatalogUnavailableError):
            await service.page(None, None)


class TestFirstStart:
    @pytest.fixture(params=["missing", "empty"])
    def unfilled(self, index, request) -> None:
        index.is_lost = request.param == "missing"

    @pytest.mark.usefixtures("unfilled")
    async def test_no_page_is_answered_before_the_index_is_filled(self, filler, waiter, storage, caplog):
        """Neither is a push written to an index that has no names yet, nor is anything reported as a fault."""
        storage.goes_on.clear()
        filling = asyncio.create_task(filler.catch_up())
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(waiter.catch_up(fills=False))
        await asyncio.sleep(0.01)
        await assert_refused(filler)
        await filler.record_push(await push(storage, "pushed"))
        assert filler.pending == 1
        storage.goes_on.set()
        assert await filling
        await waiting
        assert await waiter.catch_up(fills=False)
        for service in (filler, waiter):
            assert await names(service) == [*ALL, "pushed"]
        assert set(levels(caplog)) == {"INFO"}

    async def test_process_that_waits_scans_nothing_and_says_nothing(self, waiter, storage, caplog):
        for _ in range(3):
            assert not await waiter.catch_up(fills=False)
            await assert_refused(waiter)
        assert waiter.trouble == "the index is being rebuilt"
        assert (storage.walks, caplog.records) == (0, [])

    async def test_process_that_cannot_fill_says_so(self, filler, storage, caplog):
        storage.is_away = True
        for _ in range(3):
            assert not await filler.catch_up()
        assert levels(caplog) == ["INFO", "WARNING"]
        await assert_refused(filler)
        storage.is_away = False
        assert await filler.catch_up()
        assert await names(filler) == ALL

    async def test_empty_registry_needs_no_process_that_fills(self, index):
        index.is_lost = False
        storage = SlowStorage()
        for number in range(MANY):
            await push(storage, f"left-{number}")
            await delete(storage, f"left-{number}")
        service = CatalogService(index, storage=storage)
        assert await service.catch_up(fills=False)
        assert await names(service) == []

    async def test_registry_that_lists_nothing_needs_no_process_that_fills(self, index):
        """Such as a cache of another registry."""
        index.is_lost = False
        storage = SlowStorage()
        for number in range(MANY):
            await push(storage, f"cached-{number}")
        service = CatalogService(index, storage=storage, lists=lambda _: False)
        assert await service.catch_up(fills=False)
        assert (await names(service), storage.walks) == ([], 0)

    async def test_small_registry_needs_no_process_that_fills(self, waiter, index):
        index.is_lost = False
        assert await waiter.catch_up(fills=False)
        assert await names(waiter) == ALL

    async def test_index_that_was_away_is_filled_by_each_process(self, waiter, index):
        index.is_lost, index.is_away = False, True
        assert not await waiter.catch_up(fills=False)
        index.is_away = False
        assert await waiter.catch_up(fills=False)
        assert await names(waiter) == ALL


class TestLaterLoss:
    @pytest.fixture(autouse=True)
    async def fill_and_lose(self, filler, waiter, index, storage, caplog):
        assert await filler.catch_up()
        assert await waiter.catch_up(fills=False)
        index.is_lost = True
        storage.walks = 0
        caplog.clear()

    async def test_one_process_fills_and_the_others_wait(self, filler, waiter, storage, caplog):
        await assert_refused(waiter)
        for _ in range(2):
            assert not await waiter.catch_up(fills=False)
        assert storage.walks == 0
        assert not await filler.catch_up()
        await assert_refused(filler, waiter)
        assert await filler.catch_up()
        assert await names(filler) == ALL
        await assert_refused(waiter)
        assert await waiter.catch_up(fills=False)
        assert await names(waiter) == ALL
        # Each process reports the loss and its end once; one of them rebuilt.
        assert levels(caplog) == ["WARNING", "WARNING", "INFO", "INFO", "INFO"]
        assert waiter.trouble == ""

    async def test_push_at_a_process_that_waits_is_kept(self, filler, waiter, storage):
        await waiter.record_push(await push(storage, "pushed"))
        await waiter.record_removal(await delete(storage, ALL[0]))
        assert waiter.pending == 2
        await filler.catch_up()
        assert await filler.catch_up()
        assert await waiter.catch_up(fills=False)
        for service in (filler, waiter):
            assert await names(service) == [*ALL[1:], "pushed"]

    async def test_empty_index_of_another_program_is_not_believed(self, filler, waiter, index, storage):
        """Somebody created the table by hand, or an older version did."""
        await assert_refused(filler, waiter)
        for number in range(MANY):
            await push(storage, f"many-{number}")
        index.is_lost = False
        assert not await waiter.catch_up(fills=False)
        await assert_refused(waiter)
        assert storage.walks == 1
        assert await filler.catch_up()
        assert await waiter.catch_up(fills=False)
        assert len(await names(waiter)) == len(ALL) + MANY

    async def test_index_that_was_filled_with_nothing_gets_a_push_that_came_meanwhile(self, filler, waiter, storage):
        for name in ALL:
            await delete(storage, name)
        await assert_refused(filler, waiter)
        assert await filler.catch_up()
        await waiter.record_push(await push(storage, "pushed"))
        assert await waiter.catch_up(fills=False)
        assert await names(filler) == ["pushed"]

    async def test_command_fills_the_index_at_its_end(self, index, storage):
        service = CatalogService(index, storage=storage)
        await service.announce(RepositoryName("copied"))
        await service.record_push(await push(storage, "copied"))
        await service.flush_pending()
        assert not index.is_lost
        assert await names(service) == [*ALL, "copied"]

    async def test_failing_command_leaves_the_index_lost(self, index, storage):
        service = CatalogService(index, storage=storage)
        await service.record_push(await push(storage, "copied"))
        storage.is_away = True
        with pytest.raises(StorageUnavailableError):
            await service.flush_pending()
        assert (index.is_lost, service.pending) == (True, 1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["push", "delete", "lose", "create by hand", "catch up"]),
        st.integers(0, 2),
        st.sampled_from("abc"),
    ),
    max_size=30,
)


class Play:
    """Three processes on one index, of which the first fills it."""

    def __init__(self, *, is_lost: bool) -> None:
        self.storage, self.index = SwitchedStorage(now=now), SwitchedIndex()
        self.index.is_lost = is_lost
        self.services = [CatalogService(self.index, storage=self.storage) for _ in range(3)]
        self.held: set[str] = set()
        self.remembered: set[str] = set()
        """Names that only processes know, which have not written them yet."""

    async def take(self, step: str, number: int, name: str) -> None:
        service = self.services[number]
        pending = service.pending
        if step == "push":
            self.held.add(name)
            await service.record_push(await push(self.storage, name))
        elif step == "delete":
            self.held.discard(name)
            await service.record_removal(await delete(self.storage, name))
        elif step == "lose":
            self.index.is_lost = True
            # Every process looks at the index more often than somebody creates one by hand.
            for each in self.services:
                await each.catch_up(fills=False)
        elif step == "create by hand":
            self.index.is_lost = False
        else:
            await service.catch_up(fills=number == 0)
        if service.pending > pending:
            self.remembered.add(name)

    async def look(self) -> None:
        """Assert that each list is complete, as far as anybody but one process can know."""
        for service in self.services:
            try:
                listed = set(await names(service))
            except CatalogUnavailableError:
                continue
            assert listed >= self.held - self.remembered
        if not any(service.pending for service in self.services):
            self.remembered.clear()

    async def settle(self) -> None:
        for _ in range(3):
            for number, each in enumerate(self.services):
                await each.catch_up(fills=number == 0)


@given(steps=STEPS, is_lost=st.booleans())
def test_no_list_lacks_a_name_that_no_process_remembers(steps, is_lost):
    async def play() -> None:
        processes = Play(is_lost=is_lost)
        await processes.take("catch up", 0, "")
        for step in steps:
            await processes.take(*step)
            await processes.look()
        await processes.settle()
        for service in processes.services:
            assert set(await names(service)) == processes.held

    asyncio.run(play())
