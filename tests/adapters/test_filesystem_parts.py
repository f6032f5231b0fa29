"""The parts of the filesystem adapter by themselves: threads, page cache, remembered listings."""

import asyncio
import os
import sys
import threading

import pytest

from adapters.blob_storage.filesystem import listing
from adapters.blob_storage.filesystem.listing import Listings
from adapters.blob_storage.filesystem.page_cache import PageCache
from adapters.blob_storage.filesystem.threads import BlockingCalls


@pytest.fixture
async def calls():
    calls = BlockingCalls(1)
    calls.open()
    yield calls
    await calls.aclose()


async def test_cancelled_caller_waits_for_its_call(calls):
    begun, end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        end.wait(10)

    task = asyncio.create_task(calls.run(work))
    await asyncio.to_thread(begun.wait, 60)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_call_without_a_thread_never_starts(calls):
    end = threading.Event()
    called: list[int] = []
    busy = asyncio.create_task(calls.run(end.wait, 10))
    task = asyncio.create_task(calls.run(called.append, 1))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    end.set()
    await busy
    await calls.run(called.append, 2)
    assert called == [2]


@pytest.fixture
def frequent_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
async def test_each_call_is_made_once_whenever_threads_become_idle():
    calls = BlockingCalls(8)
    calls.open()
    made: list[tuple[int, int]] = []

    async def client(number: int) -> None:
        for turn in range(300):
            await calls.run(made.append, (number, turn))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number in range(12):
            tasks.create_task(client(number))
    await calls.aclose()
    assert sorted(made) == [(number, turn) for number in range(12) for turn in range(300)]


async def test_calls_that_wait_for_each_other_run_in_different_threads():
    calls = BlockingCalls(4)
    calls.open()
    meeting = threading.Barrier(4, timeout=60)
    for _ in range(100):
        await asyncio.gather(*(calls.run(meeting.wait) for _ in range(4)))
    await calls.aclose()


async def test_closing_ends_idle_and_busy_threads():
    before = set(threading.enumerate())
    calls = BlockingCalls(3)
    calls.open()
    meeting = threading.Barrier(3, timeout=60)
    await asyncio.gather(*(calls.run(meeting.wait) for _ in range(3)))
    end = threading.Event()
    busy = asyncio.create_task(calls.run(end.wait, 60))
    await asyncio.sleep(0)
    closing = asyncio.create_task(calls.aclose())
    await asyncio.sleep(0.01)
    assert not closing.done()
    end.set()
    async with asyncio.timeout(60):
        await closing
        assert await busy
    left = set(threading.enumerate()) - before
    assert not [thread.name for thread in left if thread.name.startswith("blob-storage")]


async def test_error_of_call_reaches_caller(calls):
    with pytest.raises(FileNotFoundError):
        await calls.run(os.stat, "/nowhere/at/all")


def test_page_cache_returns_cached_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    cache = PageCache()
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    try:
        assert cache.read(descriptor, 4, 3) == b"3456"
        assert cache.read(descriptor, 100, 8) == b"89"
        assert cache.read(descriptor, 100, 10) == b""
    finally:
        os.close(descriptor)
    assert cache.is_usable


def test_page_cache_is_switched_off_after_a_refusal(tmp_path):
    cache = PageCache()
    # The proc file system refuses the flag, as NFS does.
    descriptor = os.open("/proc/self/status", os.O_RDONLY)
    try:
        assert cache.read(descriptor, 10, 0) is None
    finally:
        os.close(descriptor)
    assert not cache.is_usable


def test_page_cache_raises_other_errors(tmp_path):
    cache = PageCache()
    descriptor = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            cache.read(descriptor, 10, 0)
    finally:
        os.close(descriptor)
    assert cache.is_usable


@pytest.fixture
def large_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "_LARGE", 10)
    for number in range(12):
        (tmp_path / f"n{number:02}").mkdir()
    return tmp_path


def settle(folder, *, seconds: int = 0) -> None:
    """Make the folder look unchanged for long."""
    os.utime(folder, (1_700_000_000 + seconds,) * 2)


def test_settled_large_folder_is_remembered(large_folder):
    listings = Listings("/elsewhere")
    path = str(large_folder)
    assert len(listings.names(path)) == 12
    assert listings.names(path) is not listings.names(path)
    settle(large_folder)
    names = listings.names(path)
    assert listings.names(path) is names


def test_small_folder_is_not_remembered(large_folder):
    listings = Listings("/elsewhere")
    (large_folder / "n00").rmdir()
    (large_folder / "n01").rmdir()
    (large_folder / "n02").rmdir()
    settle(large_folder)
    names = listings.names(str(large_folder))
    assert len(names) == 9
    assert listings.names(str(large_folder)) is not names


def test_change_of_remembered_folder_is_detected(large_folder):
    listings = Listings("/elsewhere")
    path = str(large_folder)
    settle(large_folder)
    assert "new" not in listings.names(path)
    (large_folder / "new").mkdir()
    assert "new" in listings.names(path)
    settle(large_folder, seconds=1)
    assert "new" in listings.names(path)
    (large_folder / "new").rmdir()
    assert "new" not in listings.names(path)


def test_remembered_folder_that_vanished_is_empty(large_folder):
    listings = Listings("/elsewhere")
    path = str(large_folder)
    settle(large_folder)
    assert len(listings.names(path)) == 12
    large_folder.rename(large_folder.with_name("gone"))
    assert listings.names(path) == []


def test_remembered_names_are_bounded(large_folder, monkeypatch):
    monkeypatch.setattr(listing, "_REMEMBERED_NAMES_MAX", 30)
    listings = Listings("/elsewhere")
    folders = [large_folder / f"n{number:02}" for number in range(4)]
    read = {}
    for folder in folders:
        for name in range(11):
            (folder / f"n{name}").touch()
        settle(folder)
        read[folder] = listings.names(str(folder))
    # The last folders first: a listing that is read again takes the place of another.
    assert [listings.names(str(folder)) is read[folder] for folder in reversed(folders)] == [True, True, False, False]


@pytest.fixture
def listed(monkeypatch):
    """Return the paths of all folders that are listed."""
    paths, listdir = [], os.listdir

    def record(path):
        paths.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", record)
    return paths


def test_nature_of_settled_folder_is_remembered(tmp_path, listed):
    listings = Listings("/elsewhere")
    for name in ("a/_layers", "a/b/_layers", "c/d", "young/_layers"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a", "a/b", "c", "c/d"):
        settle(tmp_path / name)
    assert list(listings.marked(str(tmp_path), "_", "")) == ["a", "a/b", "young"]
    listed.clear()
    assert list(listings.marked(str(tmp_path), "_", "")) == ["a", "a/b", "young"]
    # Folders with children that are not marks, and the young one: not the settled ones below.
    assert sorted(listed) == sorted([str(tmp_path), *(str(tmp_path / name) for name in ("a", "c", "young"))])


def test_change_of_remembered_nature_is_detected(tmp_path):
    listings = Listings("/elsewhere")
    for name in ("a/_layers", "b/x"):
        (tmp_path / name).mkdir(parents=True)
        settle(tmp_path / name[0])
    assert list(listings.marked(str(tmp_path), "_", "")) == ["a"]
    (tmp_path / "a/_layers").rmdir()
    (tmp_path / "b/_uploads").mkdir()
    (tmp_path / "b/x/_layers").mkdir()
    assert list(listings.marked(str(tmp_path), "_", "")) == ["b", "b/x"]
    settle(tmp_path / "b", seconds=1)
    assert list(listings.marked(str(tmp_path), "_", "")) == ["b", "b/x"]
    assert list(listings.marked(str(tmp_path), "_", "")) == ["b", "b/x"]


def test_remembered_natures_are_bounded(tmp_path, listed, monkeypatch):
    monkeypatch.setattr(listing, "_REMEMBERED_NATURES_MAX", 3)
    listings = Listings("/elsewhere")
    for number in range(6):
        (tmp_path / f"n{number}/_layers").mkdir(parents=True)
        settle(tmp_path / f"n{number}")
    assert len(list(listings.marked(str(tmp_path), "_", ""))) == 6
    listed.clear()
    assert len(list(listings.marked(str(tmp_path), "_", ""))) == 6
    assert len(listed) == 1 + 3
