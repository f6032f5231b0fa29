"""Files are new when their content is, however it came there."""

import os
from pathlib import Path

from entrypoints.process.watch import FileWatch


def test_only_new_content_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    watch = FileWatch()
    assert watch.changed([str(path)]) == set()
    path.write_text("one")
    os.utime(path, (1, 1))
    assert watch.changed([str(path)]) == set()
    path.write_text("two")
    os.utime(path, (1, 1))
    assert watch.changed([str(path)]) == {str(path)}
    assert watch.changed([str(path)]) == set()


def test_file_renamed_over_another_is_detected(tmp_path: Path) -> None:
    path, fresh = tmp_path / "file", tmp_path / "fresh"
    path.write_text("one")
    watch = FileWatch()
    watch.changed([str(path)])
    fresh.write_text("two")
    fresh.rename(path)
    assert watch.changed([str(path)]) == {str(path)}


def test_swapped_link_of_kubernetes_is_detected(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tls.crt").write_text(version)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    path = str(tmp_path / "tls.crt")
    watch = FileWatch()
    watch.changed([path])
    (tmp_path / "..data_tmp").symlink_to("2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert watch.changed([path]) == {path}


def test_missing_file_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    watch = FileWatch()
    watch.changed([str(path)])
    path.unlink()
    assert watch.changed([str(path), "\0"]) == set()
    path.write_text("one")
    assert watch.changed([str(path)]) == set()
    path.write_text("two")
    assert watch.changed([str(path)]) == {str(path)}
