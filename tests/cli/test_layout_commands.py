"""`registry export` and `registry import`: arguments, output and exit codes."""

import json
from pathlib import Path

import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.cli.conftest import WriteConfig
from tests.support.oci import make_image, write_layout


@pytest.fixture
def config(write_config: WriteConfig, tmp_path: Path) -> str:
    (tmp_path / "data" / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True)
    return str(write_config(audit={"file": str(tmp_path / "audit.log")}))


@pytest.fixture
def layout(tmp_path: Path) -> str:
    return str(write_layout(tmp_path / "layout", make_image(1), "v1"))


def test_import_and_export_are_each_others_inverse(
    config: str, layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = make_image(1).digest
    assert main(["import", config, layout, "team/app"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"team/app:v1 {digest}\nimported: 1 image, 1 manifest, 3 blobs (")
    assert err == ""
    assert main(["export", config, "team/app", "-o", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["blobs"]) == (1, 4)
    before, after = (
        {path.name: path.read_bytes() for path in root.glob("blobs/*/*")} for root in (Path(layout), tmp_path / "out")
    )
    assert before == after
    assert main(["import", config, layout, "team/app", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["blobs_sent"], again["blobs_present"]) == (0, 3)
    assert again["images"] == [{"name": "team/app", "digest": digest, "tag": "v1"}]


def test_configuration_is_found_without_being_named(
    config: str, layout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGISTRY_CONFIGURATION_PATH", config)
    assert main(["import", layout, "team/app:v2"]) == 0
    assert capsys.readouterr().out.startswith("team/app:v2 sha256:")


def test_imports_are_in_the_audit_log_and_exports_are_not(config: str, layout: str, tmp_path: Path) -> None:
    main(["import", config, layout, "team/app"])
    main(["export", config, "team/app", "-o", str(tmp_path / "out.tar")])
    logged = (tmp_path / "audit.log").read_text()
    assert f"import {config} {layout} team/app" in logged
    assert "export" not in logged


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["export", "{config}", "nobody", "-o", "{folder}/x"], (ExitCode.NOT_FOUND, "repository name not known")),
        (["export", "{config}", "nobody:v1", "-o", "{folder}/x"], (ExitCode.NOT_FOUND, "manifest unknown")),
        (["export", "{config}", "No:v1", "-o", "{folder}/x"], (ExitCode.FAILURE, "invalid repository name")),
        (["import", "{config}", "{folder}/none.tar"], (ExitCode.STORAGE, "there is no such file or folder")),
        (["import", "{config}", "{folder}"], (ExitCode.STORAGE, "not an OCI image layout")),
        (["import", "{config}", "{config}.txt", "a"], (ExitCode.STORAGE, "no such file")),
        (["import", "{config}", "{layout}"], (ExitCode.STORAGE, "give a repository")),
    ],
)
def test_mistakes_are_one_line_errors(
    words: list[str], answer: tuple[ExitCode, str], config: str, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = answer
    places = {"config": config, "layout": layout, "folder": str(Path(config).parent)}
    assert main([word.format(**places) for word in words]) == code
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "config.yml", "-o", "x"], "name at least one image"),
        (["export", "config.yml", "a", "-o", "x.tar.gz"], "name a folder or FILE.tar"),
        (["import", "config.yml"], "name one image layout"),
        (["import", "config.yml", "layout", "a", "b"], "and at most one repository"),
    ],
)
def test_wrong_arguments_are_usage_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_cached_repository_takes_no_images(
    write_config: WriteConfig, layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream = {"prefix": "quay.io", "urls": ["http://127.0.0.1:9"]}
    config = str(write_config(proxy={"upstreams": [upstream]}))
    assert main(["import", config, layout, "quay.io/team/app"]) == ExitCode.FAILURE
    assert "quay.io/team/app is a cache" in capsys.readouterr().err
    assert main(["import", config, layout, "team/app"]) == ExitCode.OK
