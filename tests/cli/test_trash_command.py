"""`registry trash` and `registry repository`: output, effects and exit codes."""

import json
from pathlib import Path

import pytest

from core.model.digest import Digest
from core.model.names import Tag
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from entrypoints.text import plural
from tests.cli.conftest import WriteConfig
from tests.support.command_store import DIGEST, NAME, OTHER, V1, delete, lines, push, target


@pytest.fixture
def config_file(write_config: WriteConfig) -> str:
    return str(write_config(access={"immutabletags": [{"tags": ["release-*"]}]}))


def test_empty_trash_is_reported(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1")
    assert main(["trash", "list", config_file]) == ExitCode.OK
    assert lines(capsys) == ["the trash is empty"]
    assert main(["trash", "list", config_file, "--json"]) == ExitCode.OK
    assert lines(capsys) == []


def test_list_shows_actor_and_content(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1", "v2", "v3", "v4")
    delete(config_file, V1)
    delete(config_file, DIGEST)
    assert main(["trash", "list", config_file]) == ExitCode.OK
    first, second = lines(capsys)
    assert first.endswith("Z  alice  team/app:v1")
    assert second.endswith("  alice  team/app:v2, team/app:v3, team/app:v4, 1 manifest")
    assert main(["trash", "list", config_file, "--json", "--repository", "team/app"]) == ExitCode.OK
    document = json.loads(lines(capsys)[0])
    assert first.startswith(document["entry"])
    assert document["tags"] == [{"repository": NAME, "tag": "v1", "digest": DIGEST}]
    assert main(["trash", "list", config_file, "--repository", "another"]) == ExitCode.OK
    assert lines(capsys) == ["the trash is empty"]


def test_list_shows_collections_and_many_tags(
    config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(config_file, "v1", "v2", "v3", "v4", "v5")
    assert main(["repository", "delete", NAME, config_file]) == ExitCode.OK
    collection = ["garbage-collect", config_file, "--delete-untagged", "--offline", "--quiet"]
    assert main(collection) == ExitCode.OK
    lines(capsys)
    assert main(["trash", "list", config_file]) == ExitCode.OK
    first, second = lines(capsys)
    assert first.endswith("team/app:v1, team/app:v2, team/app:v3, 2 more tags, 1 manifest")
    assert "blobs (" in second
    assert " links, " in second
    layer = Digest.of(b"layer")
    [copy] = (tmp_path / "data").rglob(f"_trash/blobs/sha256/{layer.encoded[:2]}/{layer.encoded}.*")
    copy.unlink()
    assert main(["trash", "restore", first.split()[0], config_file]) == ExitCode.NOT_FOUND
    out, err = capsys.readouterr()
    assert out == f"restored {first.split()[0]} in part, with 0 manifests; the entry stays in the trash\n"
    assert f"not restored: {DIGEST} is no longer in the trash\n" in err


def test_restore_brings_a_tag_back(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1")
    delete(config_file, V1)
    assert main(["trash", "restore", "team/app:v1", config_file]) == ExitCode.OK
    assert lines(capsys) == [f"restored team/app:v1 at {DIGEST}"]
    assert target(config_file) == DIGEST
    assert main(["trash", "restore", "team/app:v1", config_file]) == ExitCode.NOT_FOUND
    assert capsys.readouterr().err == "registry: no such entry in the trash\n"


def test_restore_needs_force_to_move_a_tag(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1")
    delete(config_file, V1)
    push(config_file, "v1", manifest=OTHER)
    assert main(["trash", "restore", "team/app:v1", config_file]) == ExitCode.FAILURE
    assert "team/app:v1 now points to another manifest" in capsys.readouterr().err
    assert main(["trash", "restore", "team/app:v1", config_file, "--force", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["manifests"] == 1
    assert target(config_file) == DIGEST


def test_restore_updates_the_catalog(
    config_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names"
    monkeypatch.setenv("SEARCH_BACKEND", "LOCAL")
    monkeypatch.setenv("REGISTRY_CATALOG_LOCAL_PATH", str(names))
    names.touch()
    push(config_file, "v1")
    assert main(["repository", "delete", NAME, config_file, "--reason", "moved"]) == ExitCode.OK
    assert names.read_text(encoding="utf-8") == ""
    [line] = lines(capsys)
    entry = line.split("restore ")[1].split("`")[0]
    assert main(["trash", "list", config_file]) == ExitCode.OK
    assert lines(capsys)[0].endswith("  the command line  team/app:v1, 1 manifest  moved")
    assert main(["trash", "restore", entry, config_file]) == ExitCode.OK
    assert names.read_text(encoding="utf-8") == "team/app\n"


def test_manifest_without_tags_is_restored(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file)
    delete(config_file, DIGEST)
    assert main(["trash", "list", config_file]) == ExitCode.OK
    line = lines(capsys)[0]
    assert line.endswith("team/app, 1 manifest")
    entry = line.split()[0]
    assert main(["trash", "restore", entry, config_file]) == ExitCode.OK
    assert lines(capsys) == [f"restored {entry}, with 1 manifest"]


def test_empty_removes_one_entry_or_all(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1", "v2")
    delete(config_file, V1)
    delete(config_file, Tag("v2"))
    assert main(["trash", "empty", config_file, "--expired"]) == ExitCode.OK
    assert lines(capsys) == ["0 entries removed permanently, with 0 blobs (0 B)"]
    assert main(["trash", "list", config_file]) == ExitCode.OK
    entry = lines(capsys)[0].split()[0]
    assert main(["trash", "empty", config_file, "--entry", entry]) == ExitCode.OK
    assert lines(capsys) == ["1 entry removed permanently, with 0 blobs (0 B)"]
    assert main(["trash", "empty", config_file, "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {"entries": 1, "blobs": 0, "bytes": 0}
    assert main(["trash", "empty", config_file, "--entry", entry]) == ExitCode.NOT_FOUND


def test_repository_is_counted_then_deleted(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1", "v2")
    assert main(["repository", "delete", NAME, config_file, "--dry-run"]) == ExitCode.OK
    assert lines(capsys) == ["2 tags and 1 manifest of team/app would be deleted"]
    assert main(["repository", "delete", NAME, config_file, "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["tags"], document["manifests"]) == ({"v1": DIGEST, "v2": DIGEST}, [DIGEST])
    assert main(["repository", "delete", "unknown", config_file]) == ExitCode.NOT_FOUND
    assert main(["repository", "delete", "Unknown", config_file]) == ExitCode.FAILURE


def test_repository_with_immutable_tags_stays(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1", "release-1")
    assert main(["repository", "delete", NAME, config_file]) == ExitCode.FAILURE
    assert "1 immutable tags" in capsys.readouterr().err
    assert target(config_file) == DIGEST


def test_nouns_follow_their_counts() -> None:
    assert (plural(1, "tag"), plural(1200, "tag"), plural(0, "entry", "entries")) == (
        "1 tag",
        "1,200 tags",
        "0 entries",
    )
