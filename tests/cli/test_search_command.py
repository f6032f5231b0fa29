"""`registry search`: output and exit codes."""

import json
from pathlib import Path

import pytest

from core.store import layout
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.command_store import DIGEST, NAME, OTHER, lines, push


@pytest.fixture
def config_file(write_config: WriteConfig) -> str:
    path = str(write_config())
    push(path, "v1", "v2")
    push(path, "other", manifest=OTHER)
    return path


def test_lines_name_reference_digest_size_and_match(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "name:app tag:v*", config_file]) == ExitCode.OK
    first, second = lines(capsys)
    reference, digest, size, matched = first.split("  ")
    assert (reference, digest, matched) == (f"{NAME}:v1", DIGEST, "name, tag")
    assert size.endswith(" B")
    assert second.startswith(f"{NAME}:v2  ")


def test_names_alone_are_repositories(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "APP", config_file]) == ExitCode.OK
    assert lines(capsys) == [f"{NAME}  name"]


def test_json_has_one_object_per_line(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", f"digest:{DIGEST[:20]}", config_file, "--json"]) == ExitCode.OK
    found = [json.loads(line) for line in lines(capsys)]
    assert [(hit["repository"], hit["tag"], hit["digest"], hit["matched"]) for hit in found] == [
        (NAME, "v1", DIGEST, ["digest"]),
        (NAME, "v2", DIGEST, ["digest"]),
    ]


def test_nothing_found_prints_nothing(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "nothing", config_file]) == ExitCode.OK
    assert lines(capsys) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("size:3", "invalid query at character 1: unknown field"), (" ", "TEXT is empty")],
)
def test_wrong_query_is_explained(
    config_file: str, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert main(["search", text, config_file]) == ExitCode.FAILURE
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_unreadable_manifests_are_mentioned(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(config_file).parent / f"data/{layout.blob_data(DIGEST)}").write_bytes(b"damaged")
    assert main(["search", "label:team", config_file]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert out == ""
    assert "`registry verify` names them" in err
