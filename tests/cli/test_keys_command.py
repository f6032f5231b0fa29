"""`registry keys`: output, exit codes, and what a key is limited to."""

import json

import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.support.htpasswd import write_htpasswd


@pytest.fixture
def config_file(write_config, tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", ci="x", alice="y")
    return write_config(auth={"htpasswd": {"realm": "r", "path": str(path)}})


@pytest.fixture
def run(config_file, capsys):
    def call(*words: str, code: int = 0) -> str:
        assert main(["keys", *words, "-c", str(config_file)]) == code
        return capsys.readouterr().out

    return call


def test_key_is_created_listed_and_revoked(run) -> None:
    words = ["--user", "ci", "--label", "nightly builds", "--repositories", "team/**", "--actions", "pull, push"]
    token = run("create", *words)
    assert token.startswith("srk_")
    assert len(token.split()) == 1
    listed = json.loads(run("list", "--json"))
    assert (listed["owner"], listed["label"]) == ("ci", "nightly builds")
    assert (listed["repositories"], listed["actions"]) == (["team/**"], ["pull", "push"])
    assert listed["id"] in token
    line = run("list")
    assert "ci  pull,push on team/**  until 20" in line
    assert "never used  nightly builds" in line
    assert run("list", "--user", "alice") == ""
    assert run("revoke", listed["id"]) == f"revoked {listed['id']} of ci: nightly builds\n"
    assert run("list") == ""
    run("revoke", listed["id"], code=ExitCode.NOT_FOUND)


def test_key_without_an_end_is_possible(run) -> None:
    created = json.loads(run("create", "--user", "ci", "--label", "x", "--expires", "never", "--json"))
    assert "expires" not in created
    assert created["token"].startswith(f"srk_{created['id']}_")
    assert created["actions"] == ["pull"]
    assert "without an end" in run("list")
    assert json.loads(run("revoke", created["id"], "--json"))["id"] == created["id"]


def test_mistakes_are_refused(run, config_file, capsys) -> None:
    run("create", "--user", "nobody", "--label", "x", code=ExitCode.NOT_FOUND)
    run("create", "--user", "ci", "--label", "x", "--actions", "fly", code=ExitCode.FAILURE)
    run("create", "--user", "ci", "--label", "x\n", "--repositories", "", code=ExitCode.FAILURE)
    with pytest.raises(SystemExit):
        main(["keys", "create", "--user", "ci", "--label", "x", "--expires", "soon", str(config_file)])
    assert "90d, 12h, never" in capsys.readouterr().err


def test_keys_need_users(write_config, capsys) -> None:
    assert main(["keys", "list", str(write_config())]) == ExitCode.FAILURE
    assert "auth.htpasswd: is not configured" in capsys.readouterr().err
