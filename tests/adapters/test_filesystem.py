"""Behaviour of the folder alone: its layout, its private folder, other processes, other file systems."""

import asyncio
import fcntl
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage, building
from adapters.blob_storage.filesystem.committed_size import keep_size, read_size
from core.errors import ObjectBusyError, ObjectNotFoundError, StorageUnavailableError
from tests.support.streams import collect, commit, payload, read_stream, stage

STRAY = "link.0b9ffa57-0b38-4b6e-9f0e-6f3d5a3c8f11.tmp"


@pytest.fixture
async def storage(tmp_path):
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        yield storage


async def test_key_is_path_below_root(storage, tmp_path):
    await storage.write("/docker/a/link", b"sha256:00")
    assert (tmp_path / "docker/a/link").read_bytes() == b"sha256:00"
    (tmp_path / "docker/b").mkdir()
    (tmp_path / "docker/b/link").write_bytes(b"sha256:11")
    assert await storage.read("/docker/b/link") == b"sha256:11"


async def test_staged_bytes_lie_where_distribution_looks(storage, tmp_path):
    await stage(storage, "/r/_uploads/1/data", b"abc")
    assert (tmp_path / "r/_uploads/1/data").read_bytes() == b"abc"


async def test_length_of_a_commit_is_kept_beside_the_file(storage, tmp_path):
    await stage(storage, "/r/_uploads/1/data", b"abc")
    await commit(storage, "/r/_uploads/1/data", "/r/data")
    await storage.move("/r/data", "/r/moved")
    os.truncate(tmp_path / "r/moved", 4)
    async with storage.open_reader("/r/moved") as reader:
        assert (reader.size, reader.committed_size) == (4, 3)
    await storage.write("/r/moved", b"abcd")
    async with storage.open_reader("/r/moved") as reader:
        assert reader.committed_size is None
    os.setxattr(tmp_path / "r/moved", "user.registry.size", b"garbage")
    async with storage.open_reader("/r/moved") as reader:
        assert reader.committed_size is None


def test_file_system_without_attributes_is_supported():
    """A pipe has none, as some file systems."""
    reading, writing = os.pipe()
    keep_size(writing, 5)
    assert read_size(reading) is None
    os.close(reading)
    os.close(writing)


async def test_root_may_be_a_link_or_missing(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    for root in (tmp_path / "link", tmp_path / "new/deep"):
        async with FilesystemBlobStorage(str(root)) as storage:
            await storage.write("/a/b", b"content")
            await storage.check()
            assert [key async for key, _ in storage.walk("/")] == ["/a/b"]
    assert (tmp_path / "real/a/b").read_bytes() == b"content"


async def test_unusable_root_fails_on_entry(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailableError, match="Not a directory"):
        async with FilesystemBlobStorage(str(tmp_path / "file/root")):
            pytest.fail("the block was entered")


async def test_check_fails_without_root(storage, tmp_path):
    (tmp_path / "x").mkdir()
    async with FilesystemBlobStorage(str(tmp_path / "x")) as other:
        (tmp_path / "x").rmdir()
        with pytest.raises(StorageUnavailableError, match="missing"):
            await other.check()


async def test_storage_works_only_in_its_context(tmp_path):
    storage = FilesystemBlobStorage(str(tmp_path))
    with pytest.raises(RuntimeError, match="outside of its context"):
        await storage.write("/a", b"")
    async with storage:
        await storage.write("/a", b"")
    with pytest.raises(RuntimeError, match="outside of its context"):
        await storage.write("/a", b"")


async def test_private_folder_is_no_key(storage, tmp_path):
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp/x").write_bytes(b"")
    for key in ("/.tmp", "/.tmp/x"):
        with pytest.raises(ValueError, match="reserved for the adapter"):
            await storage.read(key)
        with pytest.raises(ValueError, match="reserved for the adapter"):
            await storage.delete_tree(key)
    await storage.write("/.tmpx/.tmp", b"legal")
    assert await collect(storage.list_children("/")) == [".tmpx"]
    assert [key async for key, _ in storage.walk("/")] == ["/.tmpx/.tmp"]


async def test_stray_files_of_distribution_are_ignored(storage, tmp_path):
    await storage.write("/p/link", b"")
    (tmp_path / "p" / STRAY).write_bytes(b"half a li")
    await storage.write(f"/p/tags/{STRAY}/current/link", b"")
    await storage.write("/p/x.tmp", b"")
    assert await collect(storage.list_children("/p")) == ["link", "tags", "x.tmp"]
    assert await collect(storage.list_children("/p/tags")) == [STRAY]
    assert len([key async for key, _ in storage.walk("/p")]) == 3


async def test_start_removes_old_leftovers(tmp_path):
    private = tmp_path / ".tmp"
    old = (datetime.now(UTC) - timedelta(days=1, minutes=1)).timestamp()
    for name in ("old", "young"):
        (private / f"{name}-tree/deep").mkdir(parents=True)
        (private / f"{name}-tree/deep/link").write_bytes(b"")
        (private / f"{name}-file").write_bytes(b"")
    (private / "spool").mkdir()
    for name in ("old-tree", "old-file", "spool"):
        os.utime(private / name, (old, old))
    async with FilesystemBlobStorage(str(tmp_path)):
        assert sorted(path.name for path in private.iterdir()) == ["spool", "young-file", "young-tree"]


async def test_lost_private_folder_is_created_again(storage, tmp_path):
    await storage.write("/a/b", b"1")
    (tmp_path / ".tmp").rmdir()
    await storage.write("/a/b", b"2")
    assert await storage.read("/a/b") == b"2"
    (tmp_path / ".tmp").rmdir()
    await storage.delete_tree("/a")
    assert await collect(storage.list_children("/")) == []


async def test_error_contains_reason_and_key(storage, tmp_path):
    await storage.write("/a", b"")
    with pytest.raises(StorageUnavailableError) as caught:
        await storage.write("/a/b", b"")
    assert str(caught.value) == "Not a directory at /a/b"
    with pytest.raises(StorageUnavailableError, match="File name too long at /nn"):
        await storage.write("/" + "n" * 256, b"")
    with pytest.raises(ObjectNotFoundError):
        await storage.read("/" + "n" * 256)
    await storage.write("/d/x", b"")
    with pytest.raises(StorageUnavailableError, match="Is a directory at /d"):
        await storage.write("/d", b"")
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_writer_that_lost_the_race_for_a_folder_uses_it(tmp_path):
    """The folder was missing when the write began, and another writer has made it since."""
    private, top, path = str(tmp_path / "private"), str(tmp_path / "a"), str(tmp_path / "a/b/c/link")
    building.build(private, "/b/c/link", b"ours", durable=True)
    (tmp_path / "a/b/other").mkdir(parents=True)
    (tmp_path / "a/b/other/link").write_bytes(b"theirs")
    assert building.show(private, top, path, os.rename) == str(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c/link").read_bytes() == b"ours"
    assert (tmp_path / "a/b/other/link").read_bytes() == b"theirs"


def test_writer_that_lost_the_race_for_a_file_replaces_it(tmp_path):
    private, top, path = str(tmp_path / "private"), str(tmp_path / "a"), str(tmp_path / "a/link")
    building.build(private, "/link", b"ours", durable=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").write_bytes(b"theirs")
    assert building.show(private, top, path, os.rename) == path
    assert (tmp_path / "a/link").read_bytes() == b"ours"


def test_creator_that_lost_the_race_for_a_file_keeps_it(tmp_path):
    """Both found the folder missing; one has put it there, with its file, since."""
    private, top, path = str(tmp_path / "private"), str(tmp_path / "a"), str(tmp_path / "a/link")
    building.build(private, "/link", b"ours", durable=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        building.show(private, top, path, os.link)
    assert (tmp_path / "a/link").read_bytes() == b"theirs"


@pytest.fixture
def other_filesystem():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


async def test_other_filesystem_below_root_works(storage, tmp_path, other_filesystem):
    (tmp_path / "docker").symlink_to(other_filesystem)
    await storage.write("/docker/new/deep/link", b"1")
    await storage.write("/docker/new/deep/link", b"2")
    await storage.write("/docker/new/x", b"3")
    assert await storage.read("/docker/new/deep/link") == b"2"
    assert await storage.create("/docker/new/deep/other", b"3")
    assert not await storage.create("/docker/new/deep/other", b"4")
    assert await storage.read("/docker/new/deep/other") == b"3"
    await storage.delete_tree("/docker/new/deep")
    assert [key async for key, _ in storage.walk("/")] == ["/docker/new/x"]
    await stage(storage, "/docker/_uploads/1/data", b"abc")
    await commit(storage, "/docker/_uploads/1/data", "/docker/blobs/data")
    assert await storage.read("/docker/blobs/data") == b"abc"
    with pytest.raises(StorageUnavailableError, match="Is a directory"):
        await storage.write("/docker/new", b"")
    assert sorted(path.name for path in other_filesystem.iterdir()) == ["_uploads", "blobs", "new"]


async def test_deletion_follows_no_links(storage, tmp_path, other_filesystem):
    (other_filesystem / "precious").write_bytes(b"")
    await storage.write("/p/a/b", b"")
    (tmp_path / "p/a/link").symlink_to(other_filesystem)
    await storage.delete_tree("/p")
    assert (other_filesystem / "precious").exists()
    assert not (tmp_path / "p").exists()


LOCK = """
import fcntl, sys

with open(sys.argv[1]) as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


async def test_lock_of_other_process_is_respected(storage, tmp_path):
    await stage(storage, "/staged", b"abc")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCK, str(tmp_path / "staged"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"locked\n"
    with pytest.raises(ObjectBusyError):
        await stage(storage, "/staged", resume=True)
    child.kill()
    await child.communicate()
    assert await stage(storage, "/staged", resume=True) == 3


async def test_file_committed_before_lock_is_left_alone(storage, tmp_path, monkeypatch):
    """Between our opening and locking of the file, its writer commits it: then the file is a blob."""
    await stage(storage, "/staged", b"a finished blob")
    flock = fcntl.flock

    def flock_late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / "staged").rename(tmp_path / "blob")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    assert await stage(storage, "/staged", b"new") == 3
    assert await storage.read("/blob") == b"a finished blob"


async def test_deleted_upload_cannot_be_committed(storage):
    async with storage.open_writer("/r/_uploads/1/data") as upload:
        await upload.write(b"abc")
        await storage.delete_tree("/r/_uploads/1")
        with pytest.raises(ObjectNotFoundError):
            await upload.commit("/blob")
        await upload.discard()
    with pytest.raises(ObjectNotFoundError):
        await storage.stat("/blob")


async def test_finished_writer_takes_no_bytes(storage):
    async with storage.open_writer("/staged") as upload:
        await upload.write(b"abc")
        await upload.commit("/blob")
        with pytest.raises(RuntimeError):
            await upload.write(b"late")
    assert await storage.read("/blob") == b"abc"


async def test_object_is_as_old_as_its_commit(storage, tmp_path):
    """Garbage collection keeps young objects: bytes may have been staged for days."""
    await stage(storage, "/staged", b"abc")
    os.utime(tmp_path / "staged", (0, 0))
    before = datetime.now(UTC) - timedelta(seconds=1)
    await commit(storage, "/staged", "/blob")
    assert before < (await storage.stat("/blob")).modified_at


async def test_truncated_file_is_an_error(storage, tmp_path):
    content = payload(600_000)
    await storage.write("/a", content)
    async with storage.open_reader("/a") as reader:
        os.truncate(tmp_path / "a", 300_000)
        with pytest.raises(StorageUnavailableError, match="300000 bytes early at /a"):
            await collect(reader)


async def test_truncated_file_is_an_error_of_a_small_read(storage, tmp_path):
    await storage.write("/a", b"0123456789")
    async with storage.open_reader("/a", offset=2, length=6) as reader:
        os.truncate(tmp_path / "a", 5)
        with pytest.raises(StorageUnavailableError, match="3 bytes early at /a"):
            await reader.read()


async def test_unreadable_file_is_an_error_of_a_small_read(storage, tmp_path):
    await storage.write("/a", b"0123456789")
    async with storage.open_reader("/a") as reader:
        with reader.file, FileIO(tmp_path / "a", "a") as unreadable:
            reader.file = unreadable
            with pytest.raises(StorageUnavailableError, match="Bad file descriptor"):
                await reader.read()


async def test_content_outside_the_page_cache_is_read(storage, tmp_path):
    content = payload(3_000_000)
    await storage.write("/a", content)
    await storage.write("/link", b"sha256:00")
    for name in ("a", "link"):
        descriptor = os.open(tmp_path / name, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    assert await storage.read("/link") == b"sha256:00"
    async with storage.open_reader("/a", offset=2_000_000, length=100_000) as reader:
        assert await reader.read() == content[2_000_000:2_100_000]
    assert await read_stream(storage, "/a", offset=7) == content[7:]


async def test_cancelled_opening_leaves_no_lock(storage, monkeypatch):
    begun, flock = asyncio.Event(), fcntl.flock
    loop = asyncio.get_running_loop()

    def flock_slowly(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        asyncio.run_coroutine_threadsafe(_set_and_rest(begun), loop).result()

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock_slowly)
        task = asyncio.create_task(stage(storage, "/staged", b"abc"))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert await stage(storage, "/staged", b"abcd") == 4


async def _set_and_rest(event: asyncio.Event) -> None:
    event.set()
    await asyncio.sleep(0.05)
