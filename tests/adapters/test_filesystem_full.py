"""A full disk: uploads are refused, and what deleting must write still finds room."""

import errno
import os
import time

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.filesystem.errors import translate
from adapters.blob_storage.filesystem.reserve import BYTES_MAX, Reserve
from core.errors import StorageFullError
from tests.support.mounts import fill, small_disk

RESERVED = "/control"
RESERVE_BYTES = 128 * 1024


@pytest.fixture
def disk(tmp_path, unavailable):
    with small_disk(unavailable, tmp_path / "disk", "8m"):
        yield tmp_path / "disk"


def opened(disk, *, makes_root=True):
    return FilesystemBlobStorage(str(disk), reserved_for=[RESERVED], makes_root=makes_root)


def reserve_of(disk):
    return (disk / ".tmp" / "reserve").stat().st_size


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_and_full_quota_have_their_own_error(number):
    assert type(translate(OSError(number, "full"), "/a")) is StorageFullError


async def test_reserve_is_a_share_of_a_small_disk(disk):
    async with opened(disk) as storage:
        assert reserve_of(disk) == RESERVE_BYTES
        assert [key async for key, _ in storage.walk("/")] == []
        await storage.check_space()


async def test_reserve_of_a_large_disk_is_bounded(tmp_path):
    async with opened(tmp_path):
        assert reserve_of(tmp_path) <= BYTES_MAX
        assert (tmp_path / ".tmp" / "reserve").stat().st_blocks * 512 >= reserve_of(tmp_path)


async def test_reserve_is_no_leftover_of_a_crash(disk):
    async with opened(disk):
        os.utime(disk / ".tmp" / "reserve", (time.time() - 1_000_000,) * 2)
    async with opened(disk):
        assert reserve_of(disk) == RESERVE_BYTES


async def test_deletion_can_write_on_a_full_disk(disk, caplog):
    async with opened(disk) as storage:
        await storage.write("/data/blob", b"x" * 5000)
        fill(disk / "others")
        with pytest.raises(StorageFullError, match="at /data/link"):
            await storage.write("/data/link", b"x" * 5000)
        assert await storage.create(f"{RESERVED}/lease", b"x" * 5000)
        await storage.write(f"{RESERVED}/entry/1", b"x" * 5000)
        await storage.move("/data/blob", f"{RESERVED}/trash/blob")
        await storage.delete([f"{RESERVED}/trash/blob"])
        await storage.write_then_remove(
            [(f"{RESERVED}/entry/2", b"x" * 5000)], trees=[f"{RESERVED}/trash"], keys=[f"{RESERVED}/lease"]
        )
        assert await storage.read(f"{RESERVED}/entry/2") == b"x" * 5000
        assert await storage.staged_size(f"{RESERVED}/lease") == 0
        assert 0 < reserve_of(disk) < RESERVE_BYTES
    assert [record.getMessage() for record in caplog.records] == [
        "disk full: refusing uploads; deletions use the reserved space"
    ]


async def test_uploads_are_refused_until_the_reserve_is_complete_again(disk, caplog):
    caplog.set_level("INFO")
    async with opened(disk) as storage, opened(disk) as other:
        fill(disk / "others")
        await storage.write(f"{RESERVED}/entry", b"x" * 5000)
        for each in (storage, other):
            with pytest.raises(StorageFullError, match="cannot begin an upload at /upload"):
                async with each.open_writer("/upload"):
                    pytest.fail("it opened")
            with pytest.raises(StorageFullError, match="the disk is full"):
                await each.check_space()
        (disk / "others").unlink()
        for each in (storage, other):
            await each.check_space()
            async with each.open_writer("/upload") as writer:
                await writer.write(b"x")
                await writer.discard()
        assert reserve_of(disk) == RESERVE_BYTES
    assert "disk has free space again: accepting uploads" in caplog.text


async def test_uploads_are_refused_without_non_blocking_reads(disk, monkeypatch):
    """As on NFS: a thread checks the reserve."""
    monkeypatch.delattr(os, "RWF_NOWAIT")
    async with opened(disk) as storage:
        async with storage.open_writer("/upload") as writer:
            await writer.discard()
        fill(disk / "others")
        await storage.write(f"{RESERVED}/entry", b"x" * 5000)
        with pytest.raises(StorageFullError):
            async with storage.open_writer("/upload"):
                pytest.fail("it opened")


async def test_used_reserve_counts_as_a_full_disk(disk):
    async with opened(disk) as storage:
        fill(disk / "others")
        with pytest.raises(StorageFullError):
            await storage.write(f"{RESERVED}/large", bytes(RESERVE_BYTES * 2))
        assert reserve_of(disk) == 0
        await storage.write(f"{RESERVED}/small", b"x" * 5000)


async def test_command_uses_the_reserve_and_creates_none(disk):
    async with opened(disk, makes_root=False) as storage:
        await storage.check_space()
        assert not (disk / ".tmp").exists()
    async with opened(disk):
        fill(disk / "others")
    async with opened(disk, makes_root=False) as storage:
        await storage.write(f"{RESERVED}/entry", b"x" * 5000)
    assert reserve_of(disk) < RESERVE_BYTES


async def test_full_disk_without_reserve_refuses(disk):
    fill(disk / "others")
    async with opened(disk) as storage:
        with pytest.raises(StorageFullError):
            await storage.write(f"{RESERVED}/entry", b"x" * 5000)
        with pytest.raises(StorageFullError):
            await storage.check_space()


def test_unreadable_folder_is_not_reported_as_full(tmp_path):
    reserve = Reserve(str(tmp_path / "none"), str(tmp_path / "none" / "reserve"))
    reserve.keep(makes=True)
    assert reserve.fill()
