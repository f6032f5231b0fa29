"""`registry catalog rebuild`: output and exit codes."""

from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig

DIGEST = "a" * 64
SECRET = "hunter2"


@pytest.fixture
def config_file(write_config: WriteConfig, tmp_path: Path) -> Path:
    for name in ("a", "a/b"):
        revisions = tmp_path / f"data/docker/registry/v2/repositories/{name}/_manifests/revisions/sha256/{DIGEST}"
        revisions.mkdir(parents=True)
        (revisions / "link").write_text(f"sha256:{DIGEST}", encoding="utf-8")
    return write_config(catalog={"local": {"path": str(tmp_path / "names")}})


def test_rebuild_fills_the_file_and_counts(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEARCH_BACKEND", "LOCAL")
    assert main(["catalog", "rebuild", str(config_file)]) == 0
    assert capsys.readouterr().out == "2 repositories in the catalog index\n2 repositories summarized\n"
    assert (config_file.parent / "names").read_text(encoding="utf-8") == "a\na/b\n"


def test_listing_has_nothing_to_rebuild(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "rebuild", str(config_file)]) == 0
    assert capsys.readouterr().out.startswith("no index to rebuild")


def test_summaries_are_built_without_an_index(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "rebuild", "-q", str(config_file)]) == 0
    assert capsys.readouterr().out.endswith("2 repositories summarized\n")
    assert (config_file.parent / "data/docker/registry/v2/_summaries/_repositories").exists()


def test_a_read_only_registry_gets_no_summaries(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["readonly", "on", str(config_file)]) == 0
    assert main(["catalog", "rebuild", str(config_file)]) == 0
    assert "summaries not built: the registry is temporarily read-only" in capsys.readouterr().out
    assert not (config_file.parent / "data/docker/registry/v2/_summaries").exists()


def test_summaries_that_are_switched_off_are_not_built(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGISTRY_SUMMARIES_ENABLED", "false")
    assert main(["catalog", "rebuild", str(config_file)]) == 0
    assert "summarized" not in capsys.readouterr().out


def test_unusable_file_is_named_with_a_remedy(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEARCH_BACKEND", "LOCAL")
    (config_file.parent / "names").mkdir()
    assert main(["catalog", "rebuild", str(config_file)]) == ExitCode.STORAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"registry: the catalog file {config_file.parent / 'names'} cannot be used: it is a folder ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("dsn", "code"),
    [
        (f"{SECRET}:{SECRET}@tcp(127.0.0.1:1)/db", ExitCode.STORAGE),
        (f"{SECRET}:{SECRET}@tcp(127.0.0.1:1", ExitCode.FAILURE),
        (f"{SECRET}:{SECRET}@udp(127.0.0.1:1)/db", ExitCode.FAILURE),
    ],
    ids=["away", "no-database", "no-network"],
)
def test_errors_never_show_the_dsn(
    dsn: str,
    code: ExitCode,
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEARCH_BACKEND", "mysql")
    monkeypatch.setenv("SEARCH_BACKEND_MYSQL", dsn)
    assert main(["catalog", "rebuild", str(config_file)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err
    assert SECRET not in err


@pytest.mark.parametrize("command", [["catalog", "rebuild"], ["verify"], ["doctor"]])
def test_parts_that_a_command_does_not_use_cannot_stop_it(
    command: list[str],
    write_config: WriteConfig,
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEARCH_BACKEND", "LOCAL")
    blocked = config_file.parent / "blocked"
    blocked.write_text("a file where the folder of the outbox should be", encoding="utf-8")
    notifications = {
        "outbox": {"backend": "local", "path": str(blocked / "outbox")},
        "endpoints": [{"name": "receiver", "url": "http://127.0.0.1:1/"}],
    }
    config = write_config(notifications=notifications, catalog={"local": {"path": str(config_file.parent / "names")}})
    assert main([*command, str(config)]) != ExitCode.STORAGE
    out, err = capsys.readouterr()
    assert out
    assert str(blocked) not in out + err
