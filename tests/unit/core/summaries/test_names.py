"""The names of the catalog in memory: never older than a recorded change."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import StorageUnavailableError
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.store import summary_keys
from core.summaries import changes as changes_module
from core.summaries.changes import ChangeKind, ChangeLog, ChangeRecorder
from core.summaries.names import CHECKED_MAX, RELOAD_SECONDS, RepositoryNames, just_before, page_of
from tests.support.core_services import counting_ids
from tests.support.simulated_time import SimulatedTime

A, B, C = (RepositoryName(text) for text in ("a", "b/b", "c"))
LONG = RepositoryName("a/" + "b" * 200)


class Catalog:
    """A catalog that counts its pages."""

    def __init__(self, *names: RepositoryName) -> None:
        self.names = set(names)
        self.pages: list[tuple[int | None, str | None]] = []
        self.is_broken = False

    async def page(self, n, last, *, sees=None):
        if self.is_broken:
            raise StorageUnavailableError("broken")
        self.pages.append((n, last))
        return page_of(sorted(self.names), n, last, sees)

    def asked(self) -> int:
        """Return the number of pages since the last call."""
        count = len(self.pages)
        self.pages.clear()
        return count


class Process:
    """A process with names in memory."""

    def __init__(self, catalog: Catalog, storage: InMemoryBlobStorage, time: SimulatedTime, **options: int) -> None:
        self.catalog = catalog
        self.recorder = ChangeRecorder(storage, now=time.now, new_id=counting_ids())
        page_size_max = options.pop("page_size_max", 1000)
        self.names = RepositoryNames(
            catalog.page, log=ChangeLog(storage), clock=time.clock, page_size_max=page_size_max, **options
        )

    async def add(self, name: RepositoryName) -> None:
        self.catalog.names.add(name)
        await self.recorder.record(ChangeKind.PUSH, name, by="alice")

    async def remove(self, name: RepositoryName) -> None:
        self.catalog.names.discard(name)
        await self.recorder.record(ChangeKind.DELETE, name, by="alice")


@pytest.fixture
def catalog():
    return Catalog(A, C)


@pytest.fixture
def process(catalog, storage, time):
    return Process(catalog, storage, time)


async def test_names_are_read_once_while_nothing_changes(process, catalog):
    first = await process.names.all()
    assert first == [A, C]
    assert await process.names.all() is first
    assert catalog.asked() == 1


async def test_all_pages_are_read(catalog, storage, time):
    catalog.names.add(B)
    assert await Process(catalog, storage, time, page_size_max=2).names.all() == [A, B, C]
    assert catalog.asked() == 2
    assert await Process(Catalog(), storage, time).names.all() == []


async def test_a_recorded_change_is_seen_at_once(process, catalog):
    await process.names.all()
    catalog.asked()
    await process.add(B)
    await process.add(LONG)
    assert await process.names.all() == [A, LONG, B, C]
    assert catalog.asked() == 2
    await process.remove(C)
    await process.add(A)
    assert await process.names.all() == [A, LONG, B]
    assert catalog.asked() == 2
    await process.remove(RepositoryName("unknown"))
    assert await process.names.all() == [A, LONG, B]
    assert catalog.asked() == 1


async def test_a_change_without_a_record_is_seen_if_this_process_notes_it_or_after_a_minute(process, catalog, time):
    await process.names.all()
    catalog.names.add(B)
    assert await process.names.all() == [A, C]
    process.names.note(B)
    assert await process.names.all() == [A, B, C]
    catalog.names.discard(C)
    time.pass_seconds(RELOAD_SECONDS)
    assert await process.names.all() == [A, B]


async def test_many_changes_are_read_as_a_whole(process, catalog):
    await process.names.all()
    for number in range(CHECKED_MAX + 10):
        process.names.note(RepositoryName(f"r{number}"))
    catalog.asked()
    assert await process.names.all() == [A, C]
    assert catalog.asked() == 1
    assert await process.names.all() == [A, C]
    assert catalog.asked() == 0


async def test_names_are_read_again_if_records_are_unknown(process, catalog, storage, monkeypatch):
    await process.names.all()
    catalog.names.add(B)
    await storage.write(summary_keys.change("20261129T194007.123456Z-1"), b"damaged")
    assert await process.names.all() == [A, B, C]
    monkeypatch.setattr(changes_module, "LISTED_MAX", 1)
    await process.recorder.record(ChangeKind.OTHER, A, by="")
    catalog.asked()
    for _ in range(2):
        assert await process.names.all() == [A, B, C]
    assert catalog.asked() == 2


async def test_too_many_names_are_not_kept(catalog, storage, time):
    process = Process(catalog, storage, time, names_max=1, page_size_max=1)
    assert await process.names.all() is None
    await process.add(B)
    catalog.asked()
    assert await process.names.all() is None
    assert catalog.asked() == 0


async def test_a_failing_catalog_loses_no_change(process, catalog):
    await process.names.all()
    catalog.names.add(B)
    process.names.note(B)
    catalog.is_broken = True
    with pytest.raises(StorageUnavailableError):
        await process.names.all()
    catalog.is_broken = False
    assert await process.names.all() == [A, B, C]


async def test_pages_contain_visible_names_only():
    names = [A, B, C]
    assert page_of(names, 1, "", None) == Page(items=[A], has_more=True)
    assert page_of(names, 2, "a", None) == Page(items=[B, C])
    assert page_of(names, 1, "", lambda name: name == A) == Page(items=[A])
    assert page_of(names, 9, "z", None) == Page(items=[])
    for lesser, name in (("a", "b"), ("a-a", "a.a"), ("a", "a/a")):
        assert lesser < just_before(RepositoryName(name)) < name


CHANGE = st.tuples(st.sampled_from(["add", "remove", "wait", "ask"]), st.sampled_from([A, B, C, LONG]))


@settings(max_examples=50)
@given(st.lists(CHANGE, max_size=30))
async def test_names_are_those_of_the_catalog(changes):
    time, catalog = SimulatedTime(), Catalog(A)
    process = Process(catalog, InMemoryBlobStorage(now=time.now), time)
    for kind, name in [*changes, ("ask", A)]:
        if kind == "wait":
            time.pass_seconds(20)
        elif kind == "ask":
            assert await process.names.all() == sorted(catalog.names)
        else:
            await (process.add(name) if kind == "add" else process.remove(name))
