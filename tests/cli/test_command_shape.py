"""All commands have one shape: the configuration file, the place of options, unknown words, usage."""

from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.commands import NAMES
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.terminal import Terminal

FILE = "/nowhere/config.yml"
UNREADABLE = f"configuration error: {FILE}: cannot be read: No such file or directory\n"


def refused(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line that is a usage error, and return the output."""
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == ExitCode.USAGE
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["FILE"],
        ["-c", "FILE"],
        ["serve", "FILE"],
        ["serve", "--config=FILE"],
        ["-c", "FILE", "serve"],
        ["-cFILE", "serve"],
        ["-c", "/other", "serve", "-c", "FILE"],
        ["serve", "-c", "FILE", "FILE"],
        ["trash", "-c", "FILE", "list"],
        ["trash", "list", "--json", "FILE"],
        ["trash", "restore", "ENTRY", "--force", "FILE"],
        ["repository", "delete", "team/app", "--dry-run", "FILE"],
        ["repository", "delete", "--dry-run", "team/app", "--json", "FILE"],
        ["repository", "delete", "-c", "FILE", "--", "team/app"],
        ["garbage-collect", "-m", "FILE"],
        ["garbage-collect", "FILE", "-m", "-d"],
        ["export", "FILE", "team/app", "-o", "out"],
        ["export", "team/app", "-o", "out", "team/other", "FILE"],
        ["export", "-c", "FILE", "team/app", "-o", "out"],
        ["import", "FILE", "layout", "team/app"],
        ["import", "layout", "--json", "team/app", "FILE"],
        ["import", "layout", "-c", "FILE"],
        ["cache", "evict", "team/app", "--dry-run", "FILE"],
        ["cache", "evict", "--unused", "30d", "-d", "FILE"],
        ["cache", "evict", "-d", "-c", "FILE", "team/app"],
        ["config", "check", "-c", "FILE"],
    ],
    ids=" ".join,
)
def test_configuration_file_has_every_form(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word.replace("FILE", FILE) for word in words]) == ExitCode.FAILURE
    assert capsys.readouterr().err == UNREADABLE


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "-c", "a.yml", "b.yml"],
        ["-c", "a.yml", "trash", "list", "b.yml"],
        ["export", "-c", "a.yml", "b.yml", "team/app", "-o", "out"],
        ["export", "a.yml", "team/app", "b.yml", "-o", "out"],
        ["cache", "evict", "-c", "a.yml", "team/app", "b.yml"],
    ],
    ids=" ".join,
)
def test_two_different_files_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "two configuration files are given: " in refused(*words, capsys=capsys)


@pytest.mark.parametrize("words", [["config", "schema"], ["copy", "--from", "a.yml", "--to", "b.yml"]], ids=" ".join)
def test_commands_without_a_file_refuse_the_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = refused("-c", FILE, *words, capsys=capsys)
    assert "takes no configuration file with -c" in error
    assert error.startswith(f"usage: registry {words[0]}")


@pytest.mark.parametrize(
    ("word", "meant"), [("serv", "serve"), ("garbage", None), ("trahs", "trash"), ("version", "--version")]
)
@pytest.mark.parametrize("before", [[], ["help"], ["-c", FILE]], ids=" ".join)
def test_unknown_command_is_named_with_the_nearest_one(
    before: list[str], word: str, meant: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    hint = f"; did you mean `{meant}`?" if meant else ""
    usage, error, commands = refused(*before, word, capsys=capsys).splitlines()
    assert usage.startswith("usage: registry ")
    assert error == f"registry: error: unknown command `{word}`{hint}"
    assert commands == f"commands: {', '.join([*NAMES, 'help'])}"


def test_existing_file_of_any_name_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("version: 2\n")
    (tmp_path / "folder").mkdir()
    assert main(["mine"]) == ExitCode.FAILURE
    assert "configuration error: mine:1: `version`" in capsys.readouterr().err
    assert "unknown command `folder`" in refused("folder", capsys=capsys)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["trash", "list", "a.yml", "b.yml"], "trash list"),
        (["trash", "lst"], "trash"),
        (["trash", "list", "--nonsense"], "trash list"),
        (["--nonsense", "serve"], ""),
        (["repository", "delete"], "repository delete"),
        (["export", "a.yml", "-o", "out"], "export"),
        (["export", "team/app", "-o", "out.tar.gz"], "export"),
        (["import", "a", "b", "c"], "import"),
        (["cache", "evict"], "cache evict"),
        (["-c"], ""),
    ],
)
def test_usage_errors_show_the_usage_of_the_command(
    words: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(*words, capsys=capsys)
    name = f"registry {command}".strip()
    assert error.startswith(f"usage: {name} ")
    assert f"\n{name}: error: " in error


def test_missing_configuration_shows_the_usage_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trash", "list"]) == ExitCode.FAILURE
    error, usage = capsys.readouterr().err.splitlines()
    assert error.startswith("configuration error: configuration path unspecified: name a file ")
    assert "REGISTRY_STORAGE=filesystem" in error
    assert usage.startswith("usage: registry trash list ")


def test_variables_alone_configure_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True)
    monkeypatch.setenv("REGISTRY_STORAGE", "filesystem")
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path))
    assert main(["trash", "list"]) == ExitCode.OK
    assert capsys.readouterr().out == "the trash is empty\n"
    assert main(["config", "check"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert 'version: "0.1"  # default\n' in out
    assert f"rootdirectory: {tmp_path}  # REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY\n" in out.replace('"', "")


def test_named_file_comes_before_variables(
    write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS", "50")
    assert main(["config", "check", "-c", str(write_config())]) == ExitCode.OK
    assert "config.yml:1" in capsys.readouterr().out


@pytest.fixture
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("_colours")
def test_errors_are_red_on_a_terminal() -> None:
    screen = Terminal()
    with redirect_stderr(screen):
        main(["serve", FILE])
        with pytest.raises(SystemExit):
            main(["serv"])
    error, _usage, refusal, _commands = screen.getvalue().splitlines()
    assert error.startswith("\x1b[31mconfiguration error:\x1b[0m /nowhere")
    assert refusal.startswith("registry: \x1b[31merror:\x1b[0m unknown command")


@pytest.mark.usefixtures("_colours")
def test_verdicts_are_coloured_on_a_terminal(write_config: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    screen = Terminal()
    with redirect_stdout(screen):
        assert main(["doctor", "-q", str(write_config())]) == ExitCode.DAMAGE
    assert screen.getvalue().startswith("\x1b[31mFAILURE   \x1b[0mstorage: open: ")


def test_quiet_doctor_prints_no_totals(
    write_config: WriteConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").write_text("no folder")
    file = str(write_config())
    assert main(["doctor", "-q", file]) == ExitCode.DAMAGE
    quiet = capsys.readouterr().out
    assert main(["doctor", file]) == ExitCode.DAMAGE
    assert capsys.readouterr().out == f"{quiet}checks: 0 ok, 0 skipped, 0 warning, 1 failure\n"
