"""`registry users`: output, exit codes, and where the password comes from."""

import asyncio
import io
import json

import bcrypt
import pytest

from config.container import build_registry
from entrypoints.cli import main
from entrypoints.commands.opening import load_and_warn
from entrypoints.exit_codes import ExitCode
from entrypoints.opening import opened
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


@pytest.fixture
def provider_config(write_config):
    """The configuration of a registry whose users sign in at a provider; `oidc:alice` did, and has a key."""
    oidc = {"issuer": "https://id.example", "clientid": "registry"}
    path = write_config(auth={"oidc": oidc}, access={"rules": [{"who": "authenticated", "actions": "pull"}]})

    async def sign_in() -> None:
        application = build_registry(load_and_warn(str(path)).settings, makes_store=True)
        assert application.external is not None
        async with opened(application, only=[application.storage]):
            users = application.external.users
            await users.record(name="oidc:alice", groups=frozenset({"oidc:dev"}), provider="p", subject="1")

    asyncio.run(sign_in())
    return str(path)


def test_users_of_a_provider_are_listed_and_removed_with_their_keys(provider_config, capsys) -> None:
    create = ["keys", "create", "--label", "x", "--user"]
    assert main([*create, "oidc:alice", "-c", provider_config]) == 0
    assert main([*create, "oidc:bob", "-c", provider_config]) == ExitCode.NOT_FOUND
    assert main([*create, "bob", "-c", provider_config]) == ExitCode.NOT_FOUND
    capsys.readouterr()
    assert main(["users", "list", "-c", provider_config]) == 0
    assert capsys.readouterr().out.startswith("oidc:alice  signed in 20")
    assert main(["users", "list", "--json", "-c", provider_config]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["groups"], listed["accepted"]) == ("oidc:alice", ["oidc:dev"], True)
    assert main(["users", "remove", "oidc:alice", "-c", provider_config]) == 0
    assert capsys.readouterr().out == "removed oidc:alice and revoked 1 API keys\n"
    assert main(["keys", "list", "-c", provider_config]) == 0
    assert main(["users", "list", "-c", provider_config]) == 0
    assert capsys.readouterr().out == ""
    assert main(["users", "remove", "oidc:alice", "-c", provider_config]) == ExitCode.NOT_FOUND


def test_users_of_a_provider_have_their_passwords_there(provider_config, capsys) -> None:
    for words in (["add", "alice"], ["passwd", "oidc:alice"], ["remove", "alice"]):
        assert main(["users", *words, "-c", provider_config]) == ExitCode.FAILURE
        assert "auth.htpasswd: is not configured" in capsys.readouterr().err


def test_other_methods_have_no_users(write_config, capsys) -> None:
    assert main(["users", "list", str(write_config())]) == ExitCode.FAILURE
    assert "auth.htpasswd: is not configured" in capsys.readouterr().err
