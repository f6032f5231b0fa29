"""The folder of a running server: private, roomy, gone with the server however that ends."""

import errno
import os
import signal
import stat
from pathlib import Path

import pytest

from entrypoints.observability.runtime_folder import RuntimeFolder


def test_folder_is_private_and_removed_with_the_server(tmp_path):
    folder = RuntimeFolder.open(2, places=[tmp_path])
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert [path.name for path in tmp_path.iterdir()] == [folder.path.name]
    # No file has a hole: a process that writes to one on a full disk is killed.
    for file in folder.path.glob("*.db"):
        assert file.stat().st_blocks * 512 >= file.stat().st_size > 0
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_server_is_removed_and_that_of_a_running_one_is_not(tmp_path):
    living = RuntimeFolder.open(1, places=[tmp_path])
    told, tell = os.pipe()
    process = os.fork()
    if process == 0:
        dead = RuntimeFolder.open(1, places=[tmp_path])
        os.write(tell, dead.path.name.encode())
        signal.pause()
    name = os.read(told, 200).decode()
    assert {path.name for path in tmp_path.iterdir()} == {living.path.name, name}
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    third = RuntimeFolder.open(1, places=[tmp_path])
    assert {path.name for path in tmp_path.iterdir()} == {living.path.name, third.path.name}
    for folder in (living, third):
        folder.close()
    for end in (told, tell):
        os.close(end)


def test_next_place_is_used_when_the_first_is_full(tmp_path, monkeypatch):
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    allocate = os.posix_fallocate

    def refuse_in_small(descriptor, offset, length):
        if "small" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", refuse_in_small)
    folder = RuntimeFolder.open(1, places=[tmp_path / "missing", small, large])
    assert folder.path.parent == large
    folder.close()
    assert list(small.iterdir()) == []
    with pytest.raises(OSError, match="No space left"):
        RuntimeFolder.open(1, places=[small])
