"""`registry notifications`: output of its subcommands, and exit codes."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.blob_storage.filesystem import FilesystemBlobStorage
from core.notifications.outbox import Outbox
from core.store import layout
from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.notifications import make_event


async def _fill(folder: Path) -> None:
    async with FilesystemBlobStorage(str(folder)) as storage:
        outbox = Outbox(storage, process=lambda: "p", now=lambda: datetime.now(UTC))
        for endpoint in ("one", "two"):
            await outbox.record({endpoint: [make_event(f"{endpoint}-{number}", tag="v1") for number in range(3)]})
            [batch] = await outbox.queued(endpoint)
            await outbox.give_up(endpoint, await outbox.read(endpoint, batch), reason="status 422", attempts=5)
            await outbox.settle(endpoint, [batch])
        await outbox.record({"one": [make_event("waiting-1", "b"), make_event("waiting-2", "b")]})


@pytest.fixture(params=["storage", "local"])
def config_file(request: pytest.FixtureRequest, write_config: WriteConfig, tmp_path: Path) -> str:
    """Two endpoints with three dead letters each, and two events that wait, in either place."""
    place = tmp_path / "data"
    sections = {}
    if request.param == "local":
        place = tmp_path / "outbox"
        (tmp_path / "data" / layout.REPOSITORIES.lstrip("/")).mkdir(parents=True)
        sections["notifications"] = {"outbox": {"path": str(place)}}
    asyncio.run(_fill(place))
    return str(write_config(**sections))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["notifications", *words])
    return code, capsys.readouterr().out


def ids(capsys: pytest.CaptureFixture[str], config_file: str, *options: str) -> list[str]:
    code, out = run(capsys, "list", config_file, *options)
    assert code == ExitCode.OK
    return [line.split()[0] for line in out.splitlines()]


def test_list_shows_events_and_reasons(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "list", config_file, "--endpoint", "two")
    assert code == ExitCode.OK
    first = out.splitlines()[0]
    assert first.startswith("two-0  two  20")
    assert first.endswith("push a:v1  (status 422)")
    assert len(out.splitlines()) == 3
    assert ids(capsys, config_file, "--queued") == ["waiting-1", "waiting-2"]


def test_list_as_json(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = run(capsys, "list", config_file, "--json", "--endpoint", "one")
    entries = [json.loads(line) for line in out.splitlines()]
    assert [(each["state"], each["event"]["id"], each["attempts"]) for each in entries] == [
        ("dead", f"one-{number}", 5) for number in range(3)
    ]
    _, out = run(capsys, "list", config_file, "--json", "--queued")
    assert "reason" not in json.loads(out.splitlines()[0])


def test_replay_of_some_queues_them_again(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "replay", config_file, "--id", "one-1", "--id", "two-0", "--json")
    assert (code, json.loads(out)) == (ExitCode.OK, {"replayed": 2})
    assert ids(capsys, config_file) == ["one-0", "one-2", "two-1", "two-2"]
    assert ids(capsys, config_file, "--queued") == ["waiting-1", "waiting-2", "one-1", "two-0"]


def test_replay_of_all_of_an_endpoint(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "replay", config_file, "--all", "--endpoint", "one") == (ExitCode.OK, "3 replayed\n")
    assert ids(capsys, config_file) == ["two-0", "two-1", "two-2"]
    assert run(capsys, "replay", config_file, "--all", "--endpoint", "one") == (ExitCode.OK, "0 replayed\n")


def test_replay_of_many(config_file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async def give_up_many() -> None:
        place = tmp_path / ("outbox" if (tmp_path / "outbox").exists() else "data")
        async with FilesystemBlobStorage(str(place)) as storage:
            outbox = Outbox(storage, process=lambda: "q", now=lambda: datetime.now(UTC))
            await outbox.record({"three": [make_event(f"three-{number}") for number in range(250)]})
            [batch] = await outbox.queued("three")
            await outbox.give_up("three", await outbox.read("three", batch), reason="x")
            await outbox.settle("three", [batch])

    asyncio.run(give_up_many())
    assert run(capsys, "replay", config_file, "--all", "--endpoint", "three") == (ExitCode.OK, "250 replayed\n")
    expected = [f"three-{number}" for number in range(250)]
    assert ids(capsys, config_file, "--queued", "--endpoint", "three") == expected


def test_drop_of_dead_letters(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "drop", config_file, "--id", "two-1") == (ExitCode.OK, "1 dropped\n")
    assert ids(capsys, config_file, "--endpoint", "two") == ["two-0", "two-2"]
    assert run(capsys, "drop", config_file, "--all") == (ExitCode.OK, "5 dropped\n")
    assert ids(capsys, config_file) == []


def test_drop_of_a_waiting_event_keeps_its_batch(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "drop", config_file, "--queued", "--id", "waiting-1") == (ExitCode.OK, "1 dropped\n")
    assert ids(capsys, config_file, "--queued") == ["waiting-2"]


def test_unknown_id_is_not_found(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "replay", config_file, "--id", "none")[0] == ExitCode.NOT_FOUND
    assert run(capsys, "drop", config_file, "--id", "none")[0] == ExitCode.NOT_FOUND


@pytest.mark.parametrize("choice", [[], ["--all", "--id", "x"]])
def test_selection_of_none_or_two_kinds_is_a_usage_error(
    config_file: str, capsys: pytest.CaptureFixture[str], choice: list[str]
) -> None:
    assert run(capsys, "drop", config_file, *choice)[0] == ExitCode.USAGE
    assert len(ids(capsys, config_file)) == 6
