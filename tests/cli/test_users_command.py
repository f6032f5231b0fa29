"""`registry users`: output, exit codes, and where the password comes from."""

import io
import json

import bcrypt
import pytest

from entrypoints.cli import main
from entrypoints.exit_codes import ExitCode
from tests.support.terminal import Terminal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "htpasswd"


@pytest.fixture
def config_file(write_config, path):
    return write_config(auth={"htpasswd": {"realm": "r", "path": str(path)}})


@pytest.fixture
def run(config_file, monkeypatch):
    def call(*words: str, password: str = "") -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(password))
        return main(["users", *words, "-c", str(config_file)])

    return call


def test_users_are_added_changed_listed_and_removed(run, path, capsys) -> None:
    assert run("add", "alice", "--password-stdin", password="one\n") == 0
    assert run("add", "--password-stdin", "bob", password="two") == 0
    assert run("passwd", "alice", "--password-stdin", password="three\r\n") == 0
    assert bcrypt.checkpw(b"three", path.read_bytes().splitlines()[0].partition(b":")[2])
    assert run("remove", "bob") == 0
    assert run("list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "added alice", "added bob", "changed the password of alice", "removed bob", "alice",
    ]  # fmt: skip
    assert run("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"name": "alice"}


def test_password_is_asked_twice(config_file, monkeypatch, path, capsys) -> None:
    answers = iter(["secret", "secret", "secret", "other"])
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(answers))
    monkeypatch.setattr("sys.stdin", Terminal())
    assert main(["users", "add", "alice", "-c", str(config_file)]) == 0
    assert main(["users", "passwd", "alice", "-c", str(config_file)]) == ExitCode.FAILURE
    assert "the passwords differ" in capsys.readouterr().err
    assert bcrypt.checkpw(b"secret", path.read_bytes().strip().partition(b":")[2])


def test_refusals_name_the_reason(run, path, capsys) -> None:
    assert run("add", "alice") == ExitCode.FAILURE
    assert "--password-stdin" in capsys.readouterr().err
    assert run("add", "a:b", "--password-stdin", password="x") == ExitCode.FAILURE
    assert run("remove", "nobody") == ExitCode.NOT_FOUND
    assert "there is no user nobody" in capsys.readouterr().err
    path.mkdir()
    assert run("list") == ExitCode.FAILURE
    assert f"the htpasswd file {path}: Is a directory" in capsys.readouterr().err


def test_other_methods_have_no_users(write_config, capsys) -> None:
    assert main(["users", "list", str(write_config())]) == ExitCode.FAILURE
    assert "auth.htpasswd: is not configured" in capsys.readouterr().err
