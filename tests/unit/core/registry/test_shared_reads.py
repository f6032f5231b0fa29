"""Reads that callers share: how many there are, and what each caller gets."""

import asyncio
from collections import Counter

import pytest

from core.errors import StorageUnavailableError
from core.registry.shared_reads import ContentReader, SharedReads


class Store:
    """Counts reads; each returns the version at its end, when the test lets it go on."""

    def __init__(self) -> None:
        self.version = 0
        self.reads: Counter[str] = Counter()
        self.may_end = asyncio.Event()
        self.second_began = asyncio.Event()
        self.error: Exception | None = None
        self.shared = SharedReads(self.read)

    async def read(self, key: str) -> int:
        self.reads[key] += 1
        if self.reads[key] == 2:
            self.second_began.set()
        seen = self.version
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return seen

    async def begin(self, key: str = "a") -> asyncio.Task[int]:
        task = asyncio.create_task(self.shared.get(key))
        await asyncio.sleep(0)
        return task


@pytest.fixture
async def store():
    return Store()


async def test_callers_during_a_read_share_the_next_one(store: Store) -> None:
    first = await store.begin()
    store.version = 1
    others = [await store.begin() for _ in range(10)]
    store.may_end.set()
    assert await first == 0
    assert await asyncio.gather(*others) == [1] * 10
    assert store.reads["a"] == 2


async def test_caller_after_a_read_gets_a_new_one(store: Store) -> None:
    store.may_end.set()
    assert await store.shared.get("a") == 0
    store.version = 1
    assert await store.shared.get("a") == 1


async def test_caller_during_a_shared_read_waits_for_another(store: Store) -> None:
    first, second = await store.begin(), await store.begin()
    store.may_end.set()
    await first
    store.may_end.clear()
    await store.second_began.wait()
    store.version = 1
    third = await store.begin()
    store.may_end.set()
    assert (await second, await third) == (0, 1)
    assert store.reads["a"] == 3


async def test_other_keys_are_read_side_by_side(store: Store) -> None:
    tasks = [await store.begin("a"), await store.begin("b")]
    assert store.reads == {"a": 1, "b": 1}
    store.may_end.set()
    await asyncio.gather(*tasks)


async def test_leaving_callers_end_no_read_of_others(store: Store) -> None:
    first, second, third = await store.begin(), await store.begin(), await store.begin()
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    store.may_end.set()
    assert await third == 0
    assert store.reads["a"] == 2


async def test_error_reaches_the_callers_of_that_read_only(store: Store) -> None:
    first = await store.begin()
    others = [await store.begin() for _ in range(3)]
    store.error = StorageUnavailableError("down")
    store.may_end.set()
    for task in (first, *others):
        with pytest.raises(StorageUnavailableError):
            await task
    store.error = None
    assert await store.shared.get("a") == 0


async def test_error_of_a_read_without_callers_is_not_reported(store: Store) -> None:
    first, second = await store.begin(), await store.begin()
    second.cancel()
    store.error = StorageUnavailableError("down")
    store.may_end.set()
    with pytest.raises(StorageUnavailableError):
        await first
    await store.second_began.wait()
    await asyncio.sleep(0)


@pytest.mark.parametrize("content", [b"", b"content"])
async def test_content_is_read_from_memory(content: bytes) -> None:
    reader = ContentReader(content)
    assert (reader.size, reader.length) == (len(content), len(content))
    assert b"".join([piece async for piece in reader]) == content
    assert await ContentReader(content).read() == content
