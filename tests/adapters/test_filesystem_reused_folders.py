"""Folders of sessions that are over become those of new ones: no other content, no loss, nothing left."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage, reused_folders
from adapters.blob_storage.filesystem.reused_folders import ReusedFolders
from adapters.blob_storage.filesystem.tree import Tree


@pytest.fixture
def folder(tmp_path):
    made = Tree(str(tmp_path))
    made.prepare()
    (tmp_path / "r/_uploads").mkdir(parents=True)
    return made


def session(folder, number, content=b"2026"):
    path = Path(folder.root, "r/_uploads", str(number))
    folder.write(f"{path}/startedat", content, durable=False)
    return path


def remove(folder, *paths):
    folder.remove_trees([str(path) for path in paths])


def inode(path):
    return path.stat().st_ino


def names(path):
    return [entry.name for entry in path.iterdir()]


def test_folder_and_file_are_reused(folder, tmp_path):
    first = session(folder, 1, b"a long first content")
    inodes = inode(first), inode(first / "startedat")
    remove(folder, first)
    assert not first.exists()
    second = session(folder, 2, b"second")
    assert (inode(second), inode(second / "startedat")) == inodes
    assert names(second) == ["startedat"]
    assert (second / "startedat").read_bytes() == b"second"
    assert names(tmp_path / ".tmp") == []


@pytest.mark.parametrize("rest", ["another", "inside/file"])
def test_folder_with_more_files_is_removed(folder, tmp_path, rest):
    path = session(folder, 1)
    folder.write(f"{path}/{rest}", b"more")
    remove(folder, path)
    assert names(tmp_path / ".tmp") == []


@pytest.mark.parametrize("kind", ["large", "link", "hard link", "other name"])
def test_file_of_another_kind_is_removed(folder, tmp_path, kind):
    path = session(folder, 1)
    file = path / "startedat"
    match kind:
        case "large":
            os.truncate(file, 5_000)
        case "link":
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")
        case "hard link":
            os.link(file, tmp_path / "elsewhere")
        case _:
            file.rename(path / "other")
    remove(folder, path)
    assert names(tmp_path / ".tmp") == []


def test_durable_file_is_created_in_a_new_folder(folder, tmp_path):
    first = session(folder, 1)
    old = inode(first)
    remove(folder, first)
    folder.write(f"{folder.root}/r/_uploads/2/startedat", b"second")
    assert inode(tmp_path / "r/_uploads/2") != old


def test_removed_folder_is_skipped(folder, tmp_path):
    remove(folder, session(folder, 1), session(folder, 2))
    for name in names(tmp_path / ".tmp")[:1]:
        shutil.rmtree(tmp_path / ".tmp" / name)
    for number in (3, 4):
        assert names(session(folder, number)) == ["startedat"]


def test_number_of_kept_folders_and_names_is_limited(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reused_folders, "_FOLDERS_MAX", 2)
    remove(folder, *[session(folder, number) for number in range(5)])
    assert len(names(tmp_path / ".tmp")) == 2
    folders = ReusedFolders()
    for number in range(20):
        assert folders.take(f"name-{number}", b"") is None
    kept = []
    for number in range(20):
        private = tmp_path / f"private-{number}"
        private.mkdir()
        (private / f"name-{number}").touch()
        kept.append(folders.keep(str(private)))
    assert kept == [True] * 8 + [False] * 12


def test_threads_do_not_share_a_folder(folder, tmp_path):
    remove(folder, *[session(folder, number) for number in range(50)])
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda number: session(folder, number, str(number).encode()), range(100, 180)))
    for number, path in zip(range(100, 180), paths, strict=True):
        assert (path / "startedat").read_bytes() == str(number).encode()
    assert len({inode(path) for path in paths}) == 80


async def test_nothing_is_left_when_the_storage_is_closed(tmp_path):
    async with FilesystemBlobStorage(str(tmp_path)) as storage:
        for number in range(3):
            await storage.write(f"/r/_uploads/{number}/startedat", b"2026", durable=False)
        await storage.delete_tree(*(f"/r/_uploads/{number}" for number in range(3)))
        assert len(names(tmp_path / ".tmp")) == 3
    assert names(tmp_path / ".tmp") == []
