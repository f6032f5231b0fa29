"""`registry usage`."""

import asyncio
import json
from typing import Any

import pytest

from config.container import build_registry
from config.loader import load
from core.model.digest import Digest
from core.usage.records import StoredMeasurement, UsageRecords
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from entrypoints.opening import opened
from tests.cli.conftest import WriteConfig
from tests.support.command_store import IMAGE, NAME, OTHER, delete, lines, push

GRACE = {"maintenance": {"garbagecollect": {"graceperiod": "0s"}}}
CONTENT = len(IMAGE) + len(b"{}layer")


@pytest.fixture
def config_file(write_config: WriteConfig) -> str:
    return str(write_config(storage=GRACE))


def documents(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(capsys)]


def test_usage_of_the_store_and_by_repository(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1")
    assert main(["usage", config_file, "--by", "repository"]) == ExitCode.OK
    printed = lines(capsys)
    assert printed[0].split() == ["blobs", "and", "manifests", str(CONTENT), "B", "3", "1", "repository"]
    assert printed[-1].split() == [str(CONTENT), "B", "0", "B", "3", NAME]
    assert any(line.startswith("disk ") for line in printed)


def test_json_contains_what_a_collection_frees(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1")
    push(config_file, manifest=OTHER)
    assert main(["usage", config_file, "--json"]) == ExitCode.OK
    [document] = documents(capsys)
    assert document["blobs"] == {"count": 4, "bytes": CONTENT + len(OTHER)}
    assert document["collectable"]["untagged"] is False
    assert "byRepository" not in document
    assert main(["usage", config_file, "--json", "--quick", "--by", "repository"]) == ExitCode.OK
    [document] = documents(capsys)
    assert "collectable" not in document
    assert [each["name"] for each in document["byRepository"]] == [NAME]


def test_deleted_content_is_shown_in_the_trash(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    push(config_file, "v1")
    delete(config_file, Digest.of(IMAGE))
    assert main(["garbage-collect", "--offline", "--quiet", config_file]) == ExitCode.OK
    capsys.readouterr()
    assert main(["usage", config_file]) == ExitCode.OK
    [trash] = [line for line in lines(capsys) if line.startswith("trash")]
    assert f"{CONTENT} B" in trash
    assert "2 entries, until " in trash


def test_only_save_stores_the_measurement(config_file: str) -> None:
    push(config_file, "v1")

    async def last() -> StoredMeasurement | None:
        application = build_registry(load(config_file).settings)
        async with opened(application):
            return await UsageRecords(application.storage).last()

    assert main(["usage", config_file, "--quick"]) == ExitCode.OK
    assert asyncio.run(last()) is None
    assert main(["usage", config_file, "--quick", "--save"]) == ExitCode.OK
    saved = asyncio.run(last())
    assert saved is not None
    usage = saved.repository(NAME)
    assert usage is not None
    assert usage.own == CONTENT
