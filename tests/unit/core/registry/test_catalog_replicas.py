"""Several processes on one index and one store: the index ends as what storage holds, in every order."""

import asyncio
from collections.abc import AsyncIterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import CatalogUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.registry.catalog import CatalogService
from core.store import layout
from tests.support.interleavings import Interleaving, Replica, Step, SteppingBlobStorage, interleavings, run_alone

DIGESTS = [Digest("sha256:" + digit * 64) for digit in "ab"]
NAME = RepositoryName("team/app")


def new_storage() -> InMemoryBlobStorage:
    return InMemoryBlobStorage(now=lambda: datetime(2026, 11, 24, tzinfo=UTC))


class SharedIndex(CatalogIndex):
    """One process's way to an index that several processes share; the way can be broken, or taken step by step."""

    name = "shared"

    def __init__(self, inner: InMemoryCatalogIndex, *, steps: bool = False) -> None:
        self.inner = inner
        self.is_away = False
        self._steps = steps

    async def add(self, name: RepositoryName) -> bool:
        await self._reach()
        return await self.inner.add(name)

    async def remove(self, name: RepositoryName) -> None:
        await self._reach()
        await self.inner.remove(name)

    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        await self._reach()
        return await self.inner.page(after=after, limit=limit)

    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        await self._reach()
        await self.inner.replace_all(names)

    @property
    def is_derived(self) -> bool:
        return False

    async def check(self) -> None:
        await self._reach()

    async def _reach(self) -> None:
        if self.is_away:
            raise CatalogUnavailableError("MySQL at db:3306 does not accept connections")
        if self._steps:
            await Step()


async def push(service: CatalogService, storage: BlobStorage, name: RepositoryName, digest: Digest) -> None:
    await storage.write(layout.revision_link(name, digest), digest.encode())
    await service.record_push(name)


async def delete(service: CatalogService, storage: BlobStorage, name: RepositoryName, digest: Digest) -> None:
    await storage.delete([layout.revision_link(name, digest)])
    await service.record_removal(name)


async def held(storage: BlobStorage) -> list[str]:
    names = {key.split("/_manifests/")[0].removeprefix(f"{layout.REPOSITORIES}/") async for key, _ in storage.walk("/")}
    return sorted(names)


async def flush(service: CatalogService) -> None:
    await service.flush_pending()


async def listed(index: InMemoryCatalogIndex) -> list[str]:
    return list((await index.page(after="", limit=100)).items)


@pytest.mark.parametrize("missed", [("push", "delete"), ("delete", "push")])
@pytest.mark.parametrize("flushes", [(0, 1), (1, 0)])
@pytest.mark.parametrize("reached", [(), (0,), (1,)])
async def test_pending_push_and_deletion_of_two_processes_agree_with_storage(missed, flushes, reached):
    """Also where one of both processes reaches the index all the time."""
    storage, inner = new_storage(), InMemoryCatalogIndex()
    indexes = [SharedIndex(inner), SharedIndex(inner)]
    services = [CatalogService(index, storage=storage) for index in indexes]
    if missed[0] == "delete":
        await push(services[0], storage, NAME, DIGESTS[0])
    for number, index in enumerate(indexes):
        index.is_away = number not in reached
    for service, change in zip(services, missed, strict=True):
        await (push if change == "push" else delete)(service, storage, NAME, DIGESTS[0])
    for number in flushes:
        indexes[number].is_away = False
        await services[number].flush_pending()
    assert await listed(inner) == await held(storage)
    assert [service.pending for service in services] == [0, 0]


@pytest.mark.parametrize("is_there", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("others", [0, 1], ids=["same-manifest", "another-manifest"])
@pytest.mark.parametrize("pending", [False, True], ids=["at-once", "after-an-outage"])
def test_every_order_of_push_and_deletion_agrees_with_storage(is_there, others, pending):
    """A slow index may carry out the push's request long after the manifest was deleted again."""
    last: list[InMemoryCatalogIndex] = []

    def begin() -> Interleaving:
        inner, storage = InMemoryCatalogIndex(), new_storage()
        steppings = [SteppingBlobStorage(storage, marker="/_manifests/") for _ in range(2)]
        indexes = [SharedIndex(inner, steps=True) for _ in range(2)]
        services = [CatalogService(index, storage=stepping) for index, stepping in zip(indexes, steppings, strict=True)]
        if is_there:
            run_alone(push(services[0], storage, NAME, DIGESTS[0]))
        works = [
            push(services[0], steppings[0], NAME, DIGESTS[others]),
            delete(services[1], steppings[1], NAME, DIGESTS[0]),
        ]
        if pending:
            for index in indexes:
                index.is_away = True
            for work in works:
                run_alone(work)
            for index in indexes:
                index.is_away = False
            works = [flush(service) for service in services]
        last[:] = [inner]
        return Interleaving(storage, [Replica(*each) for each in zip(steppings, works, strict=True)])

    count = 0
    # The index is part of no state of the search, so no order is given up.
    for run in interleavings(begin, prunes=False):
        count += 1
        assert run_alone(listed(last[0])) == run_alone(held(run.store)), run.turns
    assert count >= 4


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["push", "delete", "away", "back", "flush", "rebuild"]),
        st.sampled_from([0, 1, 2]),
        st.sampled_from(["a", "a/b"]),
        st.sampled_from(DIGESTS),
    ),
    max_size=25,
)


@given(steps=STEPS, ends=st.permutations([0, 1, 2]))
def test_index_is_what_storage_holds_after_any_history(steps, ends):
    async def play() -> None:
        storage, inner = new_storage(), InMemoryCatalogIndex()
        indexes = [SharedIndex(inner) for _ in range(3)]
        services = [CatalogService(index, storage=storage) for index in indexes]
        finish = [(step, number, "a", DIGESTS[0]) for number in ends for step in ("back", "flush")]
        for step, number, text, digest in [*steps, *finish]:
            index, service, name = indexes[number], services[number], RepositoryName(text)
            if step in {"push", "delete"}:
                await (push if step == "push" else delete)(service, storage, name, digest)
            elif step in {"away", "back"}:
                index.is_away = step == "away"
            elif not index.is_away:
                await (service.flush_pending() if step == "flush" else service.rebuild())
        assert await listed(inner) == await held(storage)

    asyncio.run(play())
