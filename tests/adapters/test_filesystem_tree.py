"""Races and refusals below the port: what no contract can bring about on purpose."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage, building, removal, tree
from adapters.blob_storage.filesystem import writer as writers
from adapters.blob_storage.filesystem.drafts import Draft
from adapters.blob_storage.filesystem.folder_syncs import FolderSyncs
from core.errors import ObjectNotFoundError, StorageUnavailableError
from tests.support.streams import collect, stage


@pytest.fixture
def folder(tmp_path):
    made = tree.Tree(str(tmp_path))
    made.prepare()
    return made


def test_rename_of_missing_file_is_an_error(folder, tmp_path):
    with pytest.raises(ObjectNotFoundError) as caught:
        folder.rename(f"{tmp_path}/a/b", f"{tmp_path}/c")
    assert caught.value.key == "/a/b"


def test_rename_survives_deletion_of_its_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "staged").write_bytes(b"abc")
    make_parents = building.make_parents

    def make_and_lose(path: str) -> str:
        monkeypatch.setattr(tree, "make_parents", make_parents)
        changed = make_parents(path)
        shutil.rmtree(tmp_path / "blobs")
        return changed

    monkeypatch.setattr(tree, "make_parents", make_and_lose)
    folder.rename(f"{tmp_path}/staged", f"{tmp_path}/blobs/ab/data")
    assert (tmp_path / "blobs/ab/data").read_bytes() == b"abc"


def test_write_survives_deletion_of_its_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "p/a").mkdir(parents=True)
    build = building.build

    def build_and_lose(private: str, relative: str, content: bytes, *, durable: bool) -> None:
        monkeypatch.setattr(tree, "build", build)
        build(private, relative, content, durable=durable)
        shutil.rmtree(tmp_path / "p")

    monkeypatch.setattr(tree, "build", build_and_lose)
    folder.write(f"{tmp_path}/p/a/link", b"abc")
    assert (tmp_path / "p/a/link").read_bytes() == b"abc"
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_files_of_a_new_folder_appear_together(folder, tmp_path, monkeypatch):
    """One rename shows both, and one sync of the folder above makes both durable."""
    (tmp_path / ".tmp").mkdir()
    renamed, synced = [], []
    rename, fsync = os.rename, os.fsync

    def note_rename(source: str, target: str) -> None:
        renamed.append(target)
        rename(source, target)

    def note_sync(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "rename", note_rename)
    monkeypatch.setattr(os, "fsync", note_sync)
    files = [("tags/v1/current/link", b"a"), ("tags/v1/index/sha256/0/link", b"b"), ("other", b"c")]
    folder.write_all([(f"{tmp_path}/{name}", content) for name, content in files])
    assert [(tmp_path / name).read_bytes() for name, _ in files] == [b"a", b"b", b"c"]
    assert renamed == [f"{tmp_path}/tags", f"{tmp_path}/other"]
    assert len(synced) == 3 + 2
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_files_survive_another_writer_of_their_folder(folder, tmp_path, monkeypatch):
    sync = Draft.sync

    def sync_and_meet(draft: Draft) -> None:
        sync(draft)
        (tmp_path / "tags/v2").mkdir(parents=True)

    monkeypatch.setattr(Draft, "sync", sync_and_meet)
    (tmp_path / ".tmp").mkdir()
    files = [("tags/v1/current/link", b"a"), ("tags/v1/index/link", b"b")]
    folder.write_all([(f"{tmp_path}/{name}", content) for name, content in files])
    assert [(tmp_path / name).read_bytes() for name, _ in files] == [b"a", b"b"]
    assert (tmp_path / "tags/v2").exists()
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_commit_that_fails_shows_nothing(folder, tmp_path, monkeypatch):
    (tmp_path / ".tmp").mkdir()
    staged = tmp_path / "data"
    staged.write_bytes(b"data")
    descriptor = os.open(staged, os.O_RDWR)
    try:
        with pytest.raises(ObjectNotFoundError):
            folder.commit(descriptor, f"{staged}x", f"{tmp_path}/blobs/1", [(f"{tmp_path}/links/1", b"link")])

        def fail(_: int) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="full"):
            folder.commit(descriptor, str(staged), f"{tmp_path}/blobs/1", [(f"{tmp_path}/links/1", b"link")])
    finally:
        os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp", "blobs", "data"]
    assert list((tmp_path / "blobs").iterdir()) == list((tmp_path / ".tmp").iterdir()) == []


def test_files_whose_folders_are_removed_meanwhile_are_written(folder, tmp_path, monkeypatch):
    (tmp_path / ".tmp").mkdir()
    files = [(f"{tmp_path}/{name}/link", name.encode()) for name in ("a/1", "b/1", "c/1", "c/2")]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    show_all = Draft.show

    def remove_and_show(draft: Draft, syncs: FolderSyncs) -> None:
        if draft.paths == [files[1][0]]:
            (tmp_path / "b").rmdir()
        show_all(draft, syncs)

    monkeypatch.setattr(Draft, "show", remove_and_show)
    folder.write_all(files)
    assert [Path(path).read_bytes() for path, _ in files] == [content for _, content in files]
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_number_of_open_drafts_is_limited(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "_DRAFTED_MAX", 4)
    most, build = [0], Draft.build

    def count(draft: Draft, contents: list[bytes]) -> None:
        build(draft, contents)
        most[0] = max(most[0], len(list((tmp_path / ".tmp").iterdir())))

    monkeypatch.setattr(Draft, "build", count)
    files = [(f"{tmp_path}/{number}", b"%d" % number) for number in range(10)]
    folder.write_all(files[:1])
    folder.write_all(files)
    assert [Path(path).read_bytes() for path, _ in files] == [content for _, content in files]
    assert most == [4]


def test_files_of_a_new_folder_that_do_not_fit_leave_nothing(folder, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    (tmp_path / ".tmp").mkdir()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        folder.write_all([(f"{tmp_path}/v1/a", b"a"), (f"{tmp_path}/v1/b", b"b")])
    assert [path.name for path in tmp_path.iterdir()] == [".tmp"]
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_removal_does_not_depend_on_what_was_expected(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder/inner").mkdir(parents=True)
    (tmp_path / "folder/link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    removal.remove(f"{tmp_path}/file/below")
    removal.remove(f"{tmp_path}/file", is_folder=True)
    removal.remove(f"{tmp_path}/folder")
    removal.remove(f"{tmp_path}/missing", is_folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_deletion_survives_a_late_writer(tmp_path, monkeypatch):
    (tmp_path / "t/a").mkdir(parents=True)
    remove_folder = os.rmdir

    def write_and_remove(path: str) -> None:
        monkeypatch.setattr(os, "rmdir", remove_folder)
        (tmp_path / "t/a/late").write_bytes(b"")
        remove_folder(path)

    monkeypatch.setattr(os, "rmdir", write_and_remove)
    removal.remove(f"{tmp_path}/t")
    assert not (tmp_path / "t").exists()


async def test_dangling_link_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "_ATTEMPTS", 3)
    (tmp_path / "docker").symlink_to(tmp_path / "unmounted")
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        with pytest.raises(StorageUnavailableError, match="Device or resource busy at /docker/a"):
            await storage.write("/docker/a", b"")
        await stage(storage, "/staged", b"abc")
        with pytest.raises(StorageUnavailableError, match="File exists at /staged"):
            async with storage.open_writer("/staged", resume=True) as writer:
                await writer.commit("/docker/blob")
        assert await storage.staged_size("/staged") == 3
        assert await collect(storage.list_children("/docker")) == []


async def test_failing_disk_is_unavailable_store(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "as the kernel says it")

    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        await storage.write("/a", b"content")
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(StorageUnavailableError, match="Input/output error at /a"):
            await storage.read("/a")
        async with storage.open_reader("/a") as reader:
            with pytest.raises(StorageUnavailableError, match="Input/output error at /a"):
                await collect(reader)
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageUnavailableError, match="Input/output error at /b"):
            await storage.write("/b", b"")
        with pytest.raises(ObjectNotFoundError):
            await storage.stat("/b")


async def test_failed_append_keeps_the_file(tmp_path, monkeypatch):
    """The kernel takes a part of the chunk, and then the disk is full."""
    real, left = os.pwrite, [3]

    def write_three_bytes(descriptor: int, content: memoryview, offset: int) -> int:
        if not left:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, content[: left.pop()], offset)

    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        async with storage.open_writer("/staged") as writer:
            monkeypatch.setattr(writers, "_HELD_BYTES_MAX", 0)
            await writer.write(b"abc")
            with monkeypatch.context() as patch:
                patch.setattr(os, "pwrite", write_three_bytes)
                with pytest.raises(StorageUnavailableError, match="No space left on device at /staged"):
                    await writer.write(b"defghi")
            assert writer.size == 3
            await writer.write(b"jkl")
            await writer.commit("/a")
        assert await storage.read("/a") == b"abcjkl"


async def test_bytes_in_memory_that_do_not_fit_fail_at_the_end(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        await stage(storage, "/staged", b"abc")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fail)
            with pytest.raises(StorageUnavailableError, match="No space left on device at /staged"):
                async with storage.open_writer("/staged", resume=True) as writer:
                    await writer.write(b"def")
        assert await storage.staged_size("/staged") == 3


def test_leftover_that_cannot_be_removed_is_only_logged(tmp_path, monkeypatch, caplog):
    (tmp_path / ".tmp").mkdir()
    (tmp_path / ".tmp/old").write_bytes(b"")
    os.utime(tmp_path / ".tmp/old", (0, 0))

    def refuse(path: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(tree, "remove", refuse)
    tree.Tree(str(tmp_path)).prepare()
    assert caplog.messages == [f"cannot remove temporary file {tmp_path}/.tmp/old: Read-only file system"]


def test_folder_that_cannot_be_synced_is_no_error(tmp_path):
    building.sync_folder(f"{tmp_path}/gone")
    # The proc file system answers EINVAL, as some network file systems do.
    building.sync_folder("/proc")
    with pytest.raises(NotADirectoryError):
        building.sync_folder("/proc/version")


def test_prune_removes_empty_folders_only(folder, tmp_path):
    for path in ("r/a/_layers/sha256/x", "r/a/_manifests/tags", "r/b/_layers/sha256/x", "r/c/_layers"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "r/b/_layers/sha256/x/link").write_text("x")
    folder.prune([f"{tmp_path}/r/a", f"{tmp_path}/r/b/_layers/sha256/x", f"{tmp_path}/r/c/_layers"], f"{tmp_path}/r")
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "r").rglob("*")) == [
        "r/b",
        "r/b/_layers",
        "r/b/_layers/sha256",
        "r/b/_layers/sha256/x",
        "r/b/_layers/sha256/x/link",
    ]
    folder.prune([f"{tmp_path}/r/b/_layers/sha256/x/link", f"{tmp_path}/r/z"], f"{tmp_path}/r")
    assert (tmp_path / "r").is_dir()


def test_prune_raises_a_missing_right(folder, tmp_path, monkeypatch):
    (tmp_path / "r/a").mkdir(parents=True)

    def refuse(path):
        raise PermissionError(errno.EACCES, "no", path)

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(PermissionError):
        folder.prune([f"{tmp_path}/r/a"], f"{tmp_path}/r")


async def test_writer_survives_pruning_of_its_folder(tmp_path, monkeypatch):
    async with FilesystemBlobStorage(root_directory=str(tmp_path), threads_max=2) as storage:
        make = os.makedirs
        losses = iter([True])

        def make_and_lose(path, **options):
            make(path, **options)
            if str(path).endswith("/u") and next(losses, False):
                Path(path).rmdir()

        monkeypatch.setattr(os, "makedirs", make_and_lose)
        await stage(storage, "/r/u/data", b"abc")
        assert await storage.staged_size("/r/u/data") == 3
