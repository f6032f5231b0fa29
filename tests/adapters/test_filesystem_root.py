"""A root folder that cannot be used is named, with the setting, the user and the remedy, when it is opened."""

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.filesystem.errors import translate
from adapters.blob_storage.filesystem.root import open_root, require_root
from core.errors import StorageUnavailableError
from tests.support.mounts import mounted

_NOBODY = 65534


@pytest.fixture
def base():
    """A folder that other users may enter; those of pytest belong to one."""
    folder = Path(tempfile.mkdtemp(prefix="root-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def powerless():
    """Act as a user whose rights the file system checks, for a while."""
    user = os.geteuid()
    if user:
        yield user
        return
    os.seteuid(_NOBODY)
    try:
        yield _NOBODY
    finally:
        os.seteuid(user)


def refused(root, *, makes=True):
    with pytest.raises(StorageUnavailableError) as caught:
        open_root(str(root), makes=makes)
    message = str(caught.value)
    assert message.startswith(f"storage.filesystem.rootdirectory: {root}")
    assert "; remedy: " in message
    return message


def test_missing_root_is_created(base):
    open_root(str(base / "a" / "b"), makes=True)
    assert (base / "a" / "b").is_dir()


def test_file_is_no_root(base):
    (base / "file").touch()
    assert "is not a folder" in refused(base / "file")
    assert "is not a folder" in refused(base / "file", makes=False)


def test_root_below_a_file_is_refused(base):
    (base / "file").touch()
    assert f"cannot be created in {base}: Not a directory" in refused(base / "file" / "root")


def test_dangling_link_is_reported(base):
    (base / "link").symlink_to("/nonexistent/x")
    assert "(resolved: /nonexistent/x) is a link to /nonexistent/x, which is missing" in refused(base / "link")


def test_folder_that_the_user_may_not_create_is_reported(base):
    base.chmod(0o555)
    with powerless() as user:
        message = refused(base / "a" / "b")
    assert f"user {user} may not write to {base}" in message
    assert message.endswith(f"install -d -o {user} {base / 'a' / 'b'}")


@pytest.mark.parametrize("name", ["", ".tmp"])
def test_folder_that_the_user_may_not_write_is_reported(base, name):
    root = base / "root"
    (root / ".tmp").mkdir(parents=True)
    root.chmod(0o777)
    (root / ".tmp").chmod(0o777)
    (root / name).chmod(0o555)
    with powerless() as user:
        message = refused(root)
        assert f"user {user} may not write to {root / name}" in message
        assert message.endswith(f"chown -R {user} {root}")
        open_root(str(root), makes=False)


def test_folder_that_the_user_may_not_reach_is_reported(base):
    (base / "closed" / "root").mkdir(parents=True)
    (base / "closed").chmod(0o600)
    with powerless() as user:
        assert f"user {user} may not enter {base / 'closed'}" in refused(base / "closed" / "root", makes=False)


def test_read_only_file_system_is_reported(base, unavailable):
    with mounted(unavailable, base, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        assert f"is on a read-only file system ({base})" in refused(base)
        assert "cannot be created in" in refused(base / "root")
        open_root(str(base), makes=False)


def test_missing_root_is_not_created_for_readers(base):
    assert "is missing" in refused(base / "none", makes=False)
    assert list(base.iterdir()) == []


async def test_storage_does_not_open_without_its_root(base):
    with pytest.raises(StorageUnavailableError, match=r"rootdirectory: .*/none is missing"):
        async with FilesystemBlobStorage(str(base / "none"), makes_root=False):
            pytest.fail("it opened")


async def test_check_reports_a_removed_root(base):
    async with FilesystemBlobStorage(str(base / "root")) as storage:
        (base / "root").rename(base / "elsewhere")
        with pytest.raises(StorageUnavailableError, match=r"rootdirectory: .*/root is missing"):
            await storage.check()


def test_writable_root_is_required_only_for_writing(base):
    require_root(str(base), writable=True)
    base.chmod(0o555)
    with powerless():
        require_root(str(base), writable=False)
        with pytest.raises(StorageUnavailableError, match="is not writable"):
            require_root(str(base), writable=True)


def test_refused_write_reports_user_and_file():
    error = translate(PermissionError(errno.EACCES, "denied", "/data/a"), "/a")
    assert str(error) == f"Permission denied for user {os.geteuid()} at /a (/data/a)"
    assert str(translate(OSError(errno.EROFS, "ro"), "/a")).startswith("Read-only file system for user")
