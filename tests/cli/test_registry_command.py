"""The interface of the `registry` command: output, streams, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.errors import ConfigError
from core.errors import BlobUnknownError, DeniedError, ObjectNotFoundError, StorageUnavailableError
from entrypoints import command_line
from entrypoints.cli import main
from entrypoints.commands import program
from entrypoints.commands.base import Command
from entrypoints.exit_codes import ExitCode, exit_code_of
from tests.support.configuration import MINIMAL

ROOT = Path(command_line.__file__).parent.parent
COMMAND = [sys.executable, "-m", "entrypoints.cli"]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yml"
    path.write_text(MINIMAL + 'http: {addr: "127.0.0.1:0", secret: hunter2hunter2hunter2}\n', encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "dsn", ["nope", "u:hunter2@tcp(db:99999)/x", f"u:hunter2@tcp(db:{'9' * 5000})/x", "u@tcp(db/x"]
)
@pytest.mark.parametrize("command", [["config", "check"], ["serve"], ["catalog", "rebuild"]], ids=" ".join)
def test_malformed_dsn_is_refused_before_anything_starts(
    command: list[str], dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yml"
    path.write_text(f"{MINIMAL}catalog: {{backend: MYSQL, mysql: {{dsn: '{dsn}'}}}}\n", encoding="utf-8")
    assert main([*command, str(path)]) == ExitCode.FAILURE
    problems = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(problems) == 1
    assert problems[0].startswith("configuration error: `catalog.mysql.dsn` (SEARCH_BACKEND_MYSQL): ")
    assert "hunter2" not in problems[0]


def test_check_prints_values_with_sources(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(config_file)]) == 0
    out, err = capsys.readouterr()
    assert f'http.addr: "127.0.0.1:0"  # {config_file}:3\n' in out
    assert "tags.maxtags: 1000  # default\n" in out
    assert 'http.secret: "********"' in out
    assert "hunter2" not in out + err
    assert err == ""


def test_check_takes_the_path_from_the_variable(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_CONFIGURATION_PATH", str(config_file))
    monkeypatch.setenv("REGISTRY_LOG_LEVEL", "warn")
    assert main(["config", "check"]) == 0
    assert "log.level: warn  # REGISTRY_LOG_LEVEL\n" in capsys.readouterr().out


def test_check_shows_unknown_keys_as_warnings(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config_file.write_text(MINIMAL + "x-http: {}\n", encoding="utf-8")
    assert main(["config", "check", str(config_file)]) == 0
    assert capsys.readouterr().err == (f"warning: {config_file}:3: `x-http` is not a known key; did you mean `http`?\n")


def test_check_exits_1_with_one_line_per_problem(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config_file.write_text(MINIMAL + "log: {level: loud, formatter: xml}\n", encoding="utf-8")
    assert main(["config", "check", str(config_file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"configuration error: {config_file}:3: `log.level` must be one of debug, info, warn, error, not `loud`",
        f"configuration error: {config_file}:3: `log.formatter` must be one of text, json, logstash, not `xml`",
    ]


def test_check_prints_json_lines(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--json", str(config_file)]) == 0
    values = {each["key"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert values["http.addr"] == {"key": "http.addr", "value": "127.0.0.1:0", "source": f"{config_file}:3"}
    assert values["tags.maxtags"]["value"] == 1000
    assert values["log.level"]["value"] == "info"
    assert values["http.secret"]["value"] == "********"


def test_quiet_check_prints_warnings_only(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config_file.write_text(MINIMAL + "x-http: {}\n", encoding="utf-8")
    assert main(["config", "check", "-q", str(config_file)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "`x-http` is not a known key" in err


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert "http" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize("argv", [[], ["serve"], ["config", "check"]])
def test_missing_path_has_distributions_message(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert err.startswith("configuration error: configuration path unspecified: ")
    assert "\nusage: registry " in err


@pytest.mark.parametrize("argv", [["/nowhere/config.yml"], ["serve", "/nowhere/config.yml"]])
def test_path_without_a_command_means_serve(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    assert (
        capsys.readouterr().err
        == "configuration error: /nowhere/config.yml: cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("argv", [["--version"], ["-v"]])
def test_version_is_printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(argv)
    assert raised.value.code == 0
    assert re.fullmatch(r"registry sohu-registry v\S+\n", capsys.readouterr().out)


@pytest.mark.parametrize("argv", [["help"], ["--help"], *(["help", name] for name in ("serve", "config", "catalog"))])
def test_help_is_printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(argv)
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("usage: registry")


@pytest.mark.parametrize("words", [["readonly", "status", "--json"], ["tags", "team/app", "--sort", "name", "--json"]])
def test_configuration_file_may_follow_options(
    words: list[str], config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*words, str(config_file)])
    last = capsys.readouterr()
    main([*words[:2], str(config_file), *words[2:]])
    assert capsys.readouterr() == last
    with pytest.raises(SystemExit):
        main([*words, str(config_file), "another"])


@pytest.mark.parametrize(
    "argv", [["--nonsense"], ["serve", "a", "b"], ["config"], ["config", "nonsense"], ["catalog"], ["serve", "--conf"]]
)
def test_usage_errors_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(argv)
    assert raised.value.code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("usage: registry")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(["x"]), 1),
        (DeniedError("x"), 1),
        (ValueError("x"), 1),
        (BlobUnknownError("x"), 3),
        (StorageUnavailableError("x"), 4),
        (ObjectNotFoundError("/k"), 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_errors_have_exit_codes(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("error", "code"), [(BlobUnknownError("no such blob"), 3), (StorageUnavailableError("no disk"), 4)]
)
def test_errors_of_commands_are_one_line(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_arguments: object) -> int:
        raise error

    failing = Command(name="catalog", help="fail", add_arguments=lambda _parser: None, run=fail)
    monkeypatch.setattr(program, "find_command", lambda _name: failing)
    assert main(["catalog"]) == code
    assert capsys.readouterr().err == f"registry: {error}\n"


def test_reader_of_a_pipe_may_close_it(config_file: Path) -> None:
    process = subprocess.Popen([*COMMAND, "config", "schema"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait(20) == 1


@contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_server_logs_its_start_and_stops_on_sigterm(config_file: Path, tmp_path: Path) -> None:
    config_file.write_text(config_file.read_text(encoding="utf-8") + "hppt: {}\n", encoding="utf-8")
    variables = {
        "REGISTRY_LOG_FORMATTER": "json",
        "REGISTRY_HTTP_NET": "unix",
        "REGISTRY_HTTP_ADDR": str(tmp_path / "s"),
    }
    with serving(str(config_file), **variables) as process:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(json.loads(line))
            if seen[-1]["msg"].startswith("listening"):
                break
        assert any("`hppt` is not a known key" in each["msg"] and each["level"] == "warning" for each in seen)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
