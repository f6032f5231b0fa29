"""`registry retention plan|apply`."""

import json

import pytest

from core.model.digest import Digest
from core.model.names import Tag
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.command_store import DIGEST, OTHER, V1, lines, push, target


@pytest.fixture
def config_file(write_config: WriteConfig) -> str:
    return str(write_config(retention={"rules": [{"tags": ["v*"], "keeplast": 1}]}))


@pytest.fixture(autouse=True)
def _images(_clean_environment: None, config_file: str) -> None:
    push(config_file, "v1", "latest")
    push(config_file, "v2", manifest=OTHER)


def test_plan_shows_decisions_with_reasons_and_changes_nothing(
    config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retention", "plan", config_file]) == ExitCode.OK
    assert lines(capsys) == [
        "keep    team/app:latest  no rule matches",
        "delete  team/app:v1  not kept by any rule",
        "keep    team/app:v2  rule 1: among the last 1",
        "1 of 3 tags would be deleted",
    ]
    assert target(config_file) == DIGEST


def test_plan_can_be_json(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "plan", config_file, "--json"]) == ExitCode.OK
    [document] = [json.loads(line) for line in lines(capsys)]
    assert document["repository"] == "team/app"
    assert [(entry["tag"], entry["delete"]) for entry in document["tags"]] == [
        ("latest", False),
        ("v1", True),
        ("v2", False),
    ]
    assert document["tags"][2]["digest"] == Digest.of(OTHER)
    assert document["tags"][1]["pulled"] is None


def test_dry_run_lists_the_tags_to_delete(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "apply", config_file, "--dry-run"]) == ExitCode.OK
    assert lines(capsys) == ["delete  team/app:v1  not kept by any rule", "1 of 3 tags would be deleted"]
    assert target(config_file) == DIGEST


def test_apply_deletes_tags_that_can_be_restored(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "apply", config_file]) == ExitCode.OK
    assert lines(capsys) == ["delete  team/app:v1  not kept by any rule", "1 of 3 tags deleted"]
    assert target(config_file, Tag("latest")) == DIGEST
    assert main(["retention", "apply", config_file]) == ExitCode.OK
    assert lines(capsys) == ["0 of 2 tags deleted"]
    assert main(["trash", "list", config_file]) == ExitCode.OK
    assert lines(capsys)[0].endswith("  the command line  team/app:v1  retention")
    assert main(["trash", "restore", "team/app:v1", config_file]) == ExitCode.OK
    assert target(config_file, V1) == DIGEST
