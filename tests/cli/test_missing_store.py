"""Commands fail on a missing store and create nothing: a wrong path must not look like a sound registry."""

import json
from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode

COMMANDS = [
    ["trash", "list", "FILE"],
    ["trash", "restore", "team/app:v1", "FILE"],
    ["trash", "empty", "FILE"],
    ["trash", "empty", "--expired", "FILE"],
    ["verify", "FILE"],
    ["verify", "--repair", "FILE"],
    ["garbage-collect", "FILE"],
    ["garbage-collect", "-d", "FILE"],
    ["garbage-collect", "--offline", "FILE"],
    ["garbage-collect", "--in-server", "FILE"],
    ["usage", "FILE"],
    ["retention", "plan", "FILE"],
    ["retention", "apply", "FILE"],
    ["repository", "delete", "team/app", "FILE"],
    ["notifications", "list", "FILE"],
    ["catalog", "rebuild", "FILE"],
    ["export", "--output", "OUTPUT", "FILE", "team/app:v1"],
    ["copy", "--from", "FILE", "--to", "TARGET", "--delete"],
]


def config_of(folder: Path, root: Path) -> Path:
    path = folder / f"{root.name}.yml"
    document = {
        "version": 0.1,
        "storage": {
            "filesystem": {"rootdirectory": str(root)},
            "maintenance": {"garbagecollect": {"enabled": True}},
        },
        "catalog": {"backend": "LOCAL", "local": {"path": str(folder / "names")}},
    }
    path.write_text(json.dumps(document))
    (folder / "names").write_text("team/app\n")
    return path


def run(words: list[str], tmp_path: Path, root: Path) -> int:
    replaced = {
        "FILE": str(config_of(tmp_path, root)),
        "OUTPUT": str(tmp_path / "output"),
        "TARGET": str(config_of(tmp_path, tmp_path / "target")),
    }
    return main([replaced.get(word, word) for word in words])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_missing_folder_is_an_error(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words, tmp_path, tmp_path / "data") == ExitCode.STORAGE
    captured = capsys.readouterr()
    assert f"storage.filesystem.rootdirectory: {tmp_path / 'data'} is missing" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "names").read_text() == "team/app\n"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_empty_folder_is_an_error(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mount point whose disk is not mounted."""
    (tmp_path / "data").mkdir()
    assert run(words, tmp_path, tmp_path / "data") == ExitCode.STORAGE
    captured = capsys.readouterr()
    assert f"there is no registry in storage.filesystem.rootdirectory ({tmp_path / 'data'})" in captured.err
    assert captured.out == ""
    assert list((tmp_path / "data").iterdir()) == []
    assert (tmp_path / "names").read_text() == "team/app\n"


@pytest.mark.parametrize("action", ["on", "off", "status"])
def test_missing_folder_cannot_be_made_read_only(action: str, tmp_path: Path) -> None:
    assert run(["readonly", action, "FILE"], tmp_path, tmp_path / "data") == ExitCode.STORAGE
    assert not (tmp_path / "data").exists()


def test_files_of_commands_do_not_make_a_registry(tmp_path: Path) -> None:
    """Earlier versions wrote the store's time even to an empty folder."""
    (tmp_path / "data" / "docker" / "registry" / "v2" / "_control").mkdir(parents=True)
    assert run(["trash", "list", "FILE"], tmp_path, tmp_path / "data") == ExitCode.STORAGE
