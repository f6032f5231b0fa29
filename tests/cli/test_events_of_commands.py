"""Events and audit records of the commands that change a registry."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.errors import ManifestUnknownError, StorageUnavailableError
from core.model.names import Tag
from core.notifications.outbox import Outbox
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.support.command_store import DIGEST, NAME, OTHER, V1, delete, push, target
from tests.support.oci import make_image, write_layout

ACTOR = "the command line"
ENDPOINT = "receiver"
SILENT: dict[str, Any] = {"notifications": {}, "audit": {}}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("REGISTRY_", "SEARCH_BACKEND")):
            monkeypatch.delenv(name)


Configure = Callable[..., str]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Write a configuration with an endpoint for events and an audit log."""

    def write(name: str = "config", *, store: str = "data", **more: Any) -> str:
        document = {
            "version": "0.1",
            "storage": {
                "filesystem": {"rootdirectory": str(tmp_path / store)},
                "maintenance": {"garbagecollect": {"settletime": "2s"}},
            },
            "notifications": {"endpoints": [{"name": ENDPOINT, "url": "http://127.0.0.1:9/", "timeout": "1s"}]},
            "audit": {"file": str(tmp_path / "audit.log")},
            "retention": {"rules": [{"tags": ["v*"], "keeplast": 1}]},
        }
        path = tmp_path / f"{name}.yml"
        path.write_text(json.dumps(document | more), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def config_file(configure: Configure) -> str:
    """The configuration of a registry with two tags of one image and a tag of another."""
    quiet = configure("quiet", **SILENT)
    push(quiet, "v1", "latest")
    push(quiet, "v2", manifest=OTHER)
    return configure()


def events(tmp_path: Path, store: str = "data") -> list[tuple[str, ...]]:
    """Return the queued events: action, repository, target and actor."""

    async def read() -> list[Any]:
        async with FilesystemBlobStorage(str(tmp_path / store)) as storage:
            outbox = Outbox(storage, process=lambda: "reader", now=lambda: datetime.now(UTC))
            batches = await outbox.queued(ENDPOINT)
            return [event.document for batch in batches for event in await outbox.read(ENDPOINT, batch)]

    return [_summary(document) for document in asyncio.run(read())]


def _summary(document: dict[str, Any]) -> tuple[str, ...]:
    described = document["target"]
    assert "url" not in described
    assert document["request"] == {"id": "", "method": "", "useragent": ""}
    named = [described[key] for key in ("repository", "tag", "digest") if key in described]
    return (document["action"], *named, document["actor"].get("name", ""))


def records(tmp_path: Path) -> list[tuple[str, ...]]:
    """Return the audit records: stage, action, and the command's name or the changed object."""
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    return [
        (line["stage"], line["action"], line["command"].split()[0])
        if line["action"] == "command"
        else (line["stage"], line["action"], line["repository"], *line["tags"], line["reason"], line["actor"])
        for line in lines
    ]


def of_command(name: str, *between: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [("asked", "command", name), *between, ("done", "command", name)]


RETAINED = ("done", "tag.delete", NAME, "v1", "retention", ACTOR)


def test_deleted_repository(config_file: str, tmp_path: Path) -> None:
    assert main(["repository", "delete", NAME, config_file, "--dry-run"]) == ExitCode.OK
    assert events(tmp_path) == []
    assert main(["repository", "delete", NAME, config_file]) == ExitCode.OK
    assert events(tmp_path) == [("delete", NAME, ACTOR)]
    assert records(tmp_path) == of_command("repository")


def test_retention(config_file: str, tmp_path: Path) -> None:
    assert main(["retention", "plan", config_file]) == ExitCode.OK
    assert main(["retention", "apply", config_file, "--dry-run"]) == ExitCode.OK
    assert events(tmp_path) == []
    assert main(["retention", "apply", config_file]) == ExitCode.OK
    assert events(tmp_path) == [("delete", NAME, "v1", ACTOR)]
    assert records(tmp_path) == of_command("retention", RETAINED)


def test_collection_applies_retention_and_publishes_nothing_else(config_file: str, tmp_path: Path) -> None:
    words = ["garbage-collect", config_file, "--offline", "--delete-untagged", "--quiet"]
    assert main([*words, "--dry-run"]) == ExitCode.OK
    assert events(tmp_path) == []
    assert main(words) == ExitCode.OK
    assert events(tmp_path) == [("delete", NAME, "v1", ACTOR)]
    assert records(tmp_path) == of_command("garbage-collect", RETAINED)


def test_restored_tags(config_file: str, tmp_path: Path) -> None:
    delete(config_file, DIGEST)
    published = events(tmp_path)
    assert main(["trash", "list", config_file]) == ExitCode.OK
    assert main(["trash", "restore", f"{NAME}:v1", config_file]) == ExitCode.OK
    assert events(tmp_path) == [*published, ("push", NAME, "v1", DIGEST, ACTOR)]
    assert main(["trash", "empty", config_file]) == ExitCode.OK
    assert len(events(tmp_path)) == len(published) + 1
    assert records(tmp_path) == [*of_command("trash"), *of_command("trash")]


def test_import(configure: Configure, tmp_path: Path) -> None:
    image = make_image(1)
    config_file, layout = configure(), str(write_layout(tmp_path / "layout", image, "v1"))
    assert main(["import", config_file, layout, "team/new"]) == ExitCode.OK
    blobs = [("push", "team/new", blob.digest, ACTOR) for blob in image.blobs]
    assert sorted(events(tmp_path)[:-1]) == sorted(blobs)
    assert events(tmp_path)[-1] == ("push", "team/new", "v1", image.digest, ACTOR)
    assert main(["import", config_file, layout, "team/other"]) == ExitCode.OK
    *mounts, pushed = events(tmp_path)[len(blobs) + 1 :]
    assert sorted(mounts) == sorted(("mount", "team/other", blob.digest, ACTOR) for blob in image.blobs)
    assert pushed == ("push", "team/other", "v1", image.digest, ACTOR)
    assert records(tmp_path) == [*of_command("import"), *of_command("import")]


def test_commands_without_events(config_file: str, configure: Configure, tmp_path: Path) -> None:
    copied = configure("copied", store="copied")
    for words in (
        ["copy", "--from", config_file, "--to", copied],
        ["export", config_file, NAME, "-o", str(tmp_path / "layout")],
        ["verify", config_file],
        ["catalog", "rebuild", config_file],
        ["readonly", "on", config_file],
        ["readonly", "off", config_file],
    ):
        assert main(words) == ExitCode.OK
        assert (words, events(tmp_path), events(tmp_path, "copied")) == (words, [], [])
    assert {action for _, action, *_ in records(tmp_path)} == {"command"}


@pytest.fixture
def _broken_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    async def record(*_arguments: Any) -> None:
        raise StorageUnavailableError("no space left on device")

    monkeypatch.setattr(Outbox, "record", record)


@pytest.mark.usefixtures("_broken_outbox")
def test_command_whose_event_fails_reports_it_although_the_change_stands(config_file: str, tmp_path: Path) -> None:
    assert main(["retention", "apply", config_file]) == ExitCode.STORAGE
    assert records(tmp_path) == of_command("retention", RETAINED)
    with pytest.raises(ManifestUnknownError):
        target(config_file, V1)
    assert main(["repository", "delete", NAME, config_file]) == ExitCode.STORAGE
    with pytest.raises(ManifestUnknownError):
        target(config_file, Tag("latest"))


@pytest.mark.usefixtures("_broken_outbox")
def test_restoration_whose_event_fails_stands(configure: Configure, config_file: str) -> None:
    delete(configure("quiet", **SILENT), V1)
    assert main(["trash", "restore", f"{NAME}:v1", config_file]) == ExitCode.STORAGE
    assert target(config_file, V1) == DIGEST


def test_retention_continues_while_the_audit_log_fails(configure: Configure, config_file: str, tmp_path: Path) -> None:
    assert target(config_file, V1) == DIGEST
    full = configure("full", audit={"file": "/dev/full"})
    assert main(["retention", "apply", full]) == ExitCode.OK
    assert events(tmp_path) == [("delete", NAME, "v1", ACTOR)]


def test_command_is_refused_while_a_required_audit_log_fails(
    configure: Configure, config_file: str, tmp_path: Path
) -> None:
    full = configure("full", audit={"file": "/dev/full", "required": True})
    for words in (["retention", "apply", full], ["repository", "delete", NAME, full]):
        assert main(words) == ExitCode.STORAGE
    assert events(tmp_path) == []
    assert target(config_file, V1) == DIGEST
