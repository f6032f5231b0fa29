"""`registry readonly`: output and exit codes."""

import json
from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig

SWITCH = "data/docker/registry/v2/_control/readonly"


@pytest.fixture
def config_file(write_config: WriteConfig, tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return write_config()


@pytest.fixture
def run(config_file: Path, capsys: pytest.CaptureFixture[str]):
    def call(*words: str) -> str:
        assert main(["readonly", *words, str(config_file)]) == 0
        return capsys.readouterr().out

    return call


def test_switching_prints_the_new_state_as_json(run) -> None:
    on = json.loads(run("on", "--reason", "moving to new disks", "--json"))
    assert (on["readonly"], on["reason"]) == (True, "moving to new disks")
    assert json.loads(run("off", "--json"))["readonly"] is False


def test_switch_is_turned_on_and_off(run, tmp_path: Path) -> None:
    assert run("status") == "writable\n"
    told = run("on", "--for", "1h30m", "--reason", "moving to new disks")
    assert told.startswith("read-only for 90m: moving to new disks\n")
    assert (tmp_path / SWITCH).exists()
    status = run("status")
    assert status.startswith("read-only for another ")
    assert "moving to new disks (by " in status
    as_json = json.loads(run("status", "--json"))
    assert 5390 <= as_json.pop("secondsLeft") <= 5400
    assert as_json.pop("by")
    assert as_json == {"readonly": True, "configured": False, "reason": "moving to new disks"}
    assert run("off").startswith("writable: ")
    assert run("off").startswith("writable: ")
    assert json.loads(run("status", "--json"))["readonly"] is False


def test_warnings_about_the_configuration_are_printed(
    config_file: Path, write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(**{"x-http": {}})
    assert main(["readonly", "status", str(config_file)]) == 0
    assert "`x-http` is not a known key" in capsys.readouterr().err


def test_switch_without_an_end_stays_on(run) -> None:
    assert run("on").startswith("read-only until it is switched off: the registry is temporarily read-only\n")
    assert run("status").startswith("read-only until it is switched off: ")


def test_read_only_configuration_is_shown(run, write_config: WriteConfig) -> None:
    write_config(storage={"maintenance": {"readonly": {"enabled": True, "reason": "for good"}}})
    assert "by configuration" in run("status")
    assert json.loads(run("status", "--json")) == {
        "readonly": True, "configured": True, "reason": "for good", "by": None, "secondsLeft": None,
    }  # fmt: skip
    assert "still read-only by configuration" in run("off")


@pytest.mark.parametrize("duration", ["0s", "-1h", "90", "soon", "", "1y"])
def test_invalid_duration_is_refused(config_file: Path, capsys: pytest.CaptureFixture[str], duration: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["readonly", "on", f"--for={duration}", str(config_file)])
    assert ended.value.code == ExitCode.USAGE
    assert "invalid duration" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_invalid_reason_is_refused(config_file: Path, capsys: pytest.CaptureFixture[str], reason: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["readonly", "on", f"--reason={reason}", str(config_file)])
    assert ended.value.code == ExitCode.USAGE
    assert "1 to 1000 characters" in capsys.readouterr().err


def test_in_memory_storage_cannot_be_switched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yml"
    path.write_text("version: 0.1\nstorage: inmemory\n", encoding="utf-8")
    assert main(["readonly", "on", str(path)]) == ExitCode.FAILURE
    assert "other processes cannot read the switch" in capsys.readouterr().err
