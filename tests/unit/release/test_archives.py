"""Archives depend on their content only."""

import os
import tarfile

from scripts.release.archives import pack_folder, repack


def fill(folder, *, seconds):
    (folder / "inner").mkdir(parents=True)
    for name in ("b", "inner/a"):
        path = folder / name
        path.write_text(name)
        path.chmod(0o600 if seconds % 2 else 0o666)
        os.utime(path, (seconds, seconds))


def test_folders_with_equal_files_make_equal_archives(tmp_path):
    for suffix in ("tar", "tar.gz"):
        made = []
        for seconds in (1, 2):
            folder = tmp_path / f"{suffix}-{seconds}"
            fill(folder, seconds=seconds)
            target = tmp_path / f"{seconds}.{suffix}"
            pack_folder(folder, target, seconds=1_700_000_000)
            made.append(target.read_bytes())
        assert made[0] == made[1]
        with tarfile.open(tmp_path / f"1.{suffix}") as archive:
            entries = [(entry.name, entry.mtime, entry.mode, entry.uid) for entry in archive]
        assert entries == [("b", 1_700_000_000, 0o644, 0), ("inner/a", 1_700_000_000, 0o644, 0)]


def test_repacked_archive_keeps_order_and_content(tmp_path):
    made = []
    for seconds in (1, 2):
        folder = tmp_path / str(seconds)
        fill(folder, seconds=seconds)
        with tarfile.open(tmp_path / f"{seconds}.tgz", "w:gz") as archive:
            for name in ("inner/a", "b"):
                entry = archive.gettarinfo(folder / name, name)
                entry.mode = 0o644
                with (folder / name).open("rb") as file:
                    archive.addfile(entry, file)
        target = tmp_path / f"{seconds}-again.tgz"
        repack(tmp_path / f"{seconds}.tgz", target, seconds=5)
        made.append(target.read_bytes())
    assert made[0] == made[1]
    with tarfile.open(tmp_path / "1-again.tgz") as archive:
        assert archive.getnames() == ["inner/a", "b"]
        for name in ("inner/a", "b"):
            content = archive.extractfile(name)
            assert content is not None
            assert content.read() == name.encode()
