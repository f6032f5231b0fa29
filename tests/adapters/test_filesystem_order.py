"""The order in which changes of one call become durable, and which file systems keep it by themselves."""

import os
from pathlib import Path

import pytest

from adapters.blob_storage.filesystem import folder_syncs, tree
from adapters.blob_storage.filesystem.folder_syncs import ordered_device
from tests.support.mounts import ext4_disk, small_disk


def imitate_ext4(monkeypatch, folder: Path, device: int, *, has_journal: bool) -> None:
    """Let the files of the kernel say that this device has an ext4 file system."""
    number = f"{os.major(device)}:{os.minor(device)}"
    (folder / "mounts").write_text(f"43 27 {number} / /data rw,relatime shared:1 - ext4 /dev/vdz1 rw\n")
    (folder / "devices").mkdir()
    (folder / "devices" / number).symlink_to("../../devices/virtual/block/vdz/vdz1")
    (folder / "journals").mkdir()
    for name in ("vdz10-8", *(["vdz1-8"] if has_journal else [])):
        (folder / "journals" / name).mkdir()
    for constant, name in (("_MOUNTS", "mounts"), ("_DEVICES", "devices"), ("_JOURNALS", "journals")):
        monkeypatch.setattr(folder_syncs, constant, str(folder / name))


@pytest.mark.parametrize("has_journal", [True, False])
def test_journal_of_ext4_keeps_the_order(tmp_path, unavailable, has_journal):
    disk = tmp_path / "disk"
    with ext4_disk(unavailable, tmp_path / "image", disk, has_journal=has_journal) as is_mounted:
        (disk / "root").mkdir()
        device = disk.stat().st_dev
        with pytest.MonkeyPatch.context() as patch:
            if not is_mounted:
                imitate_ext4(patch, tmp_path, device, has_journal=has_journal)
            assert ordered_device(str(disk / "root")) == (device if has_journal else None)


@pytest.mark.parametrize("has_journal", [True, False])
def test_journal_is_that_of_the_device(tmp_path, monkeypatch, has_journal):
    device = tmp_path.stat().st_dev
    imitate_ext4(monkeypatch, tmp_path, device, has_journal=has_journal)
    assert ordered_device(str(tmp_path)) == (device if has_journal else None)


def test_memory_keeps_none(tmp_path, unavailable):
    with small_disk(unavailable, tmp_path / "disk", "1m"):
        assert ordered_device(str(tmp_path / "disk")) is None


@pytest.mark.parametrize(("kind", "is_ordered"), [("xfs", True), ("btrfs", False), ("overlay", False), ("nfs4", False)])
def test_kind_of_the_mount_decides(tmp_path, monkeypatch, kind, is_ordered):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"21 1 0:999999 / / rw - ext4 /dev/other rw\n"
        f"43 27 {os.major(device)}:{os.minor(device)} / /with\\040space rw,relatime shared:1 - {kind} /dev/it rw\n"
    )
    monkeypatch.setattr(folder_syncs, "_MOUNTS", str(mounts))
    assert ordered_device(str(tmp_path)) == (device if is_ordered else None)


def test_nothing_is_known_without_the_files_of_the_kernel(tmp_path, monkeypatch):
    assert ordered_device(str(tmp_path / "missing")) is None
    mounts = tmp_path / "mounts"
    mounts.write_text("")
    monkeypatch.setattr(folder_syncs, "_MOUNTS", str(mounts))
    assert ordered_device(str(tmp_path)) is None
    monkeypatch.setattr(folder_syncs, "_MOUNTS", str(tmp_path / "missing"))
    assert ordered_device(str(tmp_path)) is None


@pytest.fixture
def folder(tmp_path):
    made = tree.Tree(str(tmp_path))
    made.prepare()
    # The same steps on each machine.
    made._ordered_device = None  # noqa: SLF001
    return made


def note_steps(monkeypatch, root: Path) -> list[str]:
    """Return a list to which each later rename and sync is added, with its path below `root`."""
    steps: list[str] = []
    rename, fsync = os.rename, os.fsync

    def name(path: str) -> str:
        relative = path.removeprefix(f"{root}/")
        return f"draft {relative.rpartition('/')[2]}" if relative.startswith(".tmp/") else relative

    def note_rename(source: str, target: str) -> None:
        rename(source, target)
        steps.append(f"shown {name(target)}")

    def note_sync(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(f"synced {name(str(Path(f'/proc/self/fd/{descriptor}').readlink()))}")

    monkeypatch.setattr(os, "rename", note_rename)
    monkeypatch.setattr(os, "fsync", note_sync)
    return steps


def test_content_is_durable_before_anything_appears_and_each_file_before_the_next(folder, tmp_path, monkeypatch):
    for name in (".tmp", "blobs", "r/_layers"):
        (tmp_path / name).mkdir(parents=True)
    files = [(f"{tmp_path}/blobs/1/data", b"data"), (f"{tmp_path}/r/_layers/1/link", b"link")]
    steps = note_steps(monkeypatch, tmp_path)
    folder.write_all(files)
    assert steps == [
        "synced draft data",
        "synced draft link",
        "shown blobs/1",
        "synced blobs",
        "shown r/_layers/1",
        "synced r/_layers",
    ]


def test_committed_file_is_durable_before_the_files_after_it_appear(folder, tmp_path, monkeypatch):
    for name in (".tmp", "staged", "blobs", "r"):
        (tmp_path / name).mkdir()
    steps = note_steps(monkeypatch, tmp_path)
    with (tmp_path / "staged/data").open("wb", buffering=0) as file:
        file.write(b"data")
        folder.commit(
            file.fileno(), f"{tmp_path}/staged/data", f"{tmp_path}/blobs/1/data", [(f"{tmp_path}/r/_layers/1", b"link")]
        )
    assert steps == [
        "synced staged/data",
        "synced draft 1",
        "shown blobs/1/data",
        "synced blobs/1",
        "shown r/_layers",
        "synced r",
    ]


@pytest.mark.parametrize("durable", [True, False])
def test_removal_of_trees_is_durable_on_demand(folder, tmp_path, monkeypatch, durable):
    folder.write(f"{tmp_path}/r/_uploads/1/startedat", b"2026")
    steps = note_steps(monkeypatch, tmp_path)
    folder.remove_trees([f"{tmp_path}/r/_uploads/1"], durable=durable)
    assert [step for step in steps if step.startswith("synced")] == (["synced r/_uploads"] if durable else [])
    assert list((tmp_path / "r/_uploads").iterdir()) == []


@pytest.fixture
def ordered(folder, tmp_path):
    """The folder on a file system that keeps the order of changes, as far as it knows."""
    for name in (".tmp", "a", "b"):
        (tmp_path / name).mkdir()
    folder._ordered_device = tmp_path.stat().st_dev  # noqa: SLF001 - the file system of the test may keep no order
    return folder


def test_folders_are_synced_last_where_a_journal_keeps_the_order(ordered, tmp_path, monkeypatch):
    (tmp_path / "a/old").write_bytes(b"")
    (tmp_path / "b/tree").mkdir()
    steps = note_steps(monkeypatch, tmp_path)
    ordered.write_then_remove([(f"{tmp_path}/a/record", b"record")], [f"{tmp_path}/b/tree"], [f"{tmp_path}/a/old"])
    assert steps[:2] == ["synced draft " + steps[0].rpartition(" ")[2], "shown a/record"]
    assert steps[2].startswith("shown draft")
    assert steps[3:] == ["synced a", "synced b"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["record"]


def test_failed_change_leaves_the_earlier_ones_durable(ordered, tmp_path, monkeypatch):
    steps = note_steps(monkeypatch, tmp_path)
    (tmp_path / "b/link").mkdir()
    with pytest.raises(OSError, match="directory"):
        ordered.write_all([(f"{tmp_path}/a/1", b"first"), (f"{tmp_path}/b/link", b"second")])
    assert steps[-2:] == ["shown a/1", "synced a"]
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_no_order_is_assumed_after_another_file_system_was_mounted(ordered, tmp_path, monkeypatch):
    ordered._ordered_device += 1  # noqa: SLF001
    steps = note_steps(monkeypatch, tmp_path)
    ordered.write_all([(f"{tmp_path}/a/1", b"first"), (f"{tmp_path}/b/2", b"second")])
    assert steps[2:] == ["shown a/1", "synced a", "shown b/2", "synced b"]


@pytest.mark.parametrize("is_tree", [True, False])
def test_changes_are_durable_before_one_on_another_file_system(ordered, tmp_path, monkeypatch, unavailable, is_tree):
    with small_disk(unavailable, tmp_path / "disk", "1m"):
        (tmp_path / "disk/t").mkdir()
        (tmp_path / "disk/t/link").write_bytes(b"")
        steps = note_steps(monkeypatch, tmp_path)
        unlink = os.unlink

        def note_unlink(path: str) -> None:
            unlink(path)
            steps.append(f"removed {path.removeprefix(f'{tmp_path}/')}")

        monkeypatch.setattr(os, "unlink", note_unlink)
        ordered.write_then_remove(
            [(f"{tmp_path}/a/record", b"record"), (f"{tmp_path}/disk/t/record", b"record")],
            [f"{tmp_path}/disk/t"] if is_tree else [],
            [] if is_tree else [f"{tmp_path}/disk/t/link"],
        )
        removal = steps.index("removed disk/t/link")
        assert steps.index("shown a/record") < steps.index("synced a") < steps.index("shown disk/t/record") < removal
        assert f"synced disk{'' if is_tree else '/t'}" in steps[removal:]
