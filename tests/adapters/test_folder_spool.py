"""The folder of the spool: its files, and what the operating system refuses."""

import errno
import os
import time
from pathlib import Path

import pytest

from adapters.spool.folder import FolderSpool
from core.errors import StorageFullError, StorageUnavailableError
from core.model.digest import Digest
from core.ports.spool import SpoolState
from tests.support.core_services import in_a_thread

DIGEST = Digest.of(b"abc")


@pytest.fixture
async def spool(tmp_path):
    async with FolderSpool(str(tmp_path / "spool"), offload=in_a_thread) as spool:
        yield spool


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "spool" / f"sha256-{DIGEST.encoded}"


@pytest.fixture
async def blob(spool):
    blob = await spool.open(DIGEST)
    yield blob
    blob.close()


async def test_only_the_user_may_read_the_spool(spool, blob, path):
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_file_of_another_format_is_emptied(spool, path):
    path.write_bytes(b"something else" * 10_000)
    blob = await spool.open(DIGEST)
    assert blob.state == SpoolState()
    assert await blob.lead()
    assert blob.state == SpoolState()
    await blob.append(b"abc")
    assert await blob.read(0, 10) == b"abc"
    blob.close()


async def test_sweep_keeps_young_files_and_those_of_others(spool, blob, path):
    stranger = path.with_name("stranger")
    stranger.write_bytes(b"")
    an_hour_ago = time.time() - 3600
    os.utime(stranger, (an_hour_ago, an_hour_ago))
    assert await spool.sweep(unchanged_seconds=1800) == 0
    os.utime(path, (an_hour_ago, an_hour_ago))
    assert await spool.sweep(unchanged_seconds=1800) == 1
    assert list(path.parent.iterdir()) == [stranger]


async def test_sweep_spares_a_file_that_vanishes(spool, blob, path, monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda _path: [path.name, f"sha256-{'0' * 64}"])
    assert await spool.sweep(unchanged_seconds=0) == 1
    assert await spool.sweep(unchanged_seconds=0) == 0


async def test_read_waits_for_the_disk_in_a_thread(blob, monkeypatch):
    """The kernel no longer has the bytes in memory."""
    await blob.lead()
    await blob.append(b"abc")

    def not_cached(*_arguments: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", not_cached)
    assert await blob.read(1, 10) == b"bc"


@pytest.mark.parametrize(("number", "works"), [(errno.EOPNOTSUPP, True), (errno.EIO, False)])
async def test_file_system_without_such_reads(blob, monkeypatch, number, works):
    await blob.lead()
    await blob.append(b"abc")

    def refuse(*_arguments: object) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "preadv", refuse)
    for _ in range(2):
        if works:
            assert await blob.read(1, 10) == b"bc"
        else:
            with pytest.raises(StorageUnavailableError):
                await blob.read(1, 10)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError), (errno.EIO, None)]
)
async def test_errors_of_the_system_are_translated(spool, monkeypatch, number, kind):
    def refuse(*_arguments: object) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageUnavailableError) as caught:
        await spool.open(DIGEST)
    assert isinstance(caught.value, kind or StorageUnavailableError)
    assert spool.open_handles == 0


async def test_unreadable_state_is_an_error_of_the_port(blob, monkeypatch):
    await blob.lead()

    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(StorageUnavailableError):
        _ = blob.state
