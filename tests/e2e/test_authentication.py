"""skopeo and podman log in, push, pull and are refused, by each method; the server reloads its users and rules."""

import base64
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import CommandError, CommandLineClient, Crane, Podman, Skopeo
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.oci import make_image, write_layout
from tests.support.processes import RegistryServer, ServerError
from tests.support.registry_client import RegistryClient
from tests.support.token_server import TokenServer

pytestmark = pytest.mark.e2e

CLIENTS = pytest.mark.parametrize("kind", [Skopeo, Podman], ids=lambda kind: kind.program)
IMAGE = make_image(70, layer_sizes=(10_000,))
RULES = [
    {"who": ["anonymous"], "repositories": ["public/**"], "actions": ["pull"]},
    {"who": ["@dev"], "repositories": ["public/**", "team/**"], "actions": ["pull", "push"]},
    {"who": ["bob"], "repositories": ["bob/**"], "actions": ["pull", "push", "catalog"]},
]

NewClient = Callable[[type[CommandLineClient], RegistryServer], CommandLineClient]


@pytest.fixture
def new_client(tool: Callable[[str], str], tmp_path: Path) -> NewClient:
    homes = iter(range(1_000))

    def make(kind: type[CommandLineClient], server: RegistryServer) -> CommandLineClient:
        tool(kind.program)
        return kind(tmp_path / f"home-{next(homes)}", server.host)

    return make


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", IMAGE, "v1")


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return write_htpasswd(tmp_path / "htpasswd", alice="secret", bob="b")


def serving(folder: Path, **config: Any) -> RegistryServer:
    return RegistryServer(folder, folder / "storage", config={"http": {"workers": 1}, **config})


@pytest.fixture
def members(tmp_path: Path, users: Path) -> Iterator[RegistryServer]:
    with serving(tmp_path, auth={"htpasswd": {"realm": "r", "path": str(users)}}) as server:
        yield server


@pytest.fixture
def ruled(tmp_path: Path, users: Path) -> Iterator[RegistryServer]:
    groups = tmp_path / "groups"
    groups.write_text("dev: alice\n")
    access = {
        "rules": RULES,
        "groupfile": str(groups),
        "immutabletags": [{"repositories": ["public/*"], "tags": ["v*"]}],
    }
    with serving(tmp_path, auth={"htpasswd": {"realm": "r", "path": str(users)}}, access=access) as server:
        yield server


@pytest.fixture
def token_server(tmp_path: Path) -> Iterator[TokenServer]:
    rights: Mapping[str, Any] = {
        "": ("", {"public/app": ("pull",)}),
        "alice": ("secret", {"*": ("pull", "push")}),
        "bob": ("b", {"*": ("pull",)}),
    }
    with TokenServer(tmp_path, rights) as server:
        yield server


@pytest.fixture
def tokened(tmp_path: Path, token_server: TokenServer) -> Iterator[RegistryServer]:
    with serving(tmp_path, auth={"token": token_server.settings}) as server:
        yield server


def login(client: CommandLineClient, name: str, password: str) -> None:
    client.run("login", "--tls-verify=false", "--username", name, "--password", password, client.host)


def assert_pushes_and_pulls(client: CommandLineClient, layout: Path, name: str) -> None:
    client.push(layout, "v1", name)
    assert client.pull(name) == IMAGE.blobs[0].digest


@CLIENTS
def test_htpasswd(kind: type[CommandLineClient], members: RegistryServer, new_client: NewClient, layout: Path) -> None:
    client = new_client(kind, members)
    with pytest.raises(CommandError, match=r"unauthorized|authentication required"):
        client.push(layout, "v1", "team/app:v1")
    with pytest.raises(CommandError, match=r"invalid username/password|unauthorized"):
        login(client, "alice", "wrong")
    login(client, "alice", "secret")
    assert_pushes_and_pulls(client, layout, "team/app:v1")


@CLIENTS
def test_token(
    kind: type[CommandLineClient],
    tokened: RegistryServer,
    token_server: TokenServer,
    new_client: NewClient,
    layout: Path,
) -> None:
    writer, reader, stranger = (new_client(kind, tokened) for _ in range(3))
    with pytest.raises(CommandError):
        login(writer, "alice", "wrong")
    login(writer, "alice", "secret")
    assert_pushes_and_pulls(writer, layout, "public/app:v1")
    assert "repository:public/app:pull,push" in token_server.asked
    login(reader, "bob", "b")
    with pytest.raises(CommandError, match=r"denied|unauthorized|authentication required"):
        reader.push(layout, "v1", "public/app:v2")
    for client in (reader, stranger):
        assert client.pull("public/app:v1") == IMAGE.blobs[0].digest
    with pytest.raises(CommandError):
        stranger.push(layout, "v1", "public/app:v3")


@CLIENTS
def test_rules(kind: type[CommandLineClient], ruled: RegistryServer, new_client: NewClient, layout: Path) -> None:
    alice, bob, stranger = (new_client(kind, ruled) for _ in range(3))
    with pytest.raises(CommandError):
        login(alice, "alice", "wrong")
    login(alice, "alice", "secret")
    login(bob, "bob", "b")
    assert_pushes_and_pulls(alice, layout, "public/app:v1")
    for client in (bob, stranger):
        assert client.pull("public/app:v1") == IMAGE.blobs[0].digest
        with pytest.raises(CommandError, match=r"denied|unauthorized|authentication required"):
            client.push(layout, "v1", "public/app:v2")
    assert_pushes_and_pulls(bob, layout, "bob/app:v1")
    with pytest.raises(CommandError, match=r"denied"):
        alice.pull("bob/app:v1")


@CLIENTS
def test_immutable_tag(
    kind: type[CommandLineClient], ruled: RegistryServer, new_client: NewClient, layout: Path, tmp_path: Path
) -> None:
    alice = new_client(kind, ruled)
    login(alice, "alice", "secret")
    alice.push(layout, "v1", "public/app:v1")
    alice.push(layout, "v1", "public/app:v1")
    other = write_layout(tmp_path / "other", make_image(71), "v1")
    with pytest.raises(CommandError, match=r"immutable|denied"):
        alice.push(other, "v1", "public/app:v1")
    alice.push(other, "v1", "public/app:latest")
    assert alice.pull("public/app:v1") == IMAGE.blobs[0].digest


@CLIENTS
def test_silly(
    kind: type[CommandLineClient], tmp_path: Path, token_server: TokenServer, new_client: NewClient, layout: Path
) -> None:
    silly = {"realm": token_server.realm, "service": "s"}
    with serving(tmp_path, auth={"silly": silly}) as server:
        client = new_client(kind, server)
        with pytest.raises(CommandError):
            login(client, "alice", "wrong")
        login(client, "alice", "secret")
        assert_pushes_and_pulls(client, layout, "team/app:v1")


@CLIENTS
def test_none(kind: type[CommandLineClient], tmp_path: Path, new_client: NewClient, layout: Path) -> None:
    with serving(tmp_path, auth="none") as server:
        assert_pushes_and_pulls(new_client(kind, server), layout, "team/app:v1")


def test_crane_pulls_without_a_login_and_lists_what_it_may(
    ruled: RegistryServer, new_client: NewClient, layout: Path
) -> None:
    crane = new_client(Crane, ruled)
    crane.run("auth", "login", "--username", "alice", "--password", "secret", crane.host)
    crane.push(layout, "v1", "public/app:v1")
    crane.push(layout, "v1", "team/app:v1")
    bob = new_client(Crane, ruled)
    assert bob.pull("public/app:v1") == IMAGE.blobs[0].digest
    bob.run("auth", "login", "--username", "bob", "--password", "b", bob.host)
    bob.push(layout, "v1", "bob/app:v1")
    assert bob.run("catalog", bob.host).split() == ["bob/app", "public/app"]


def get(server: RegistryServer, authorization: str, path: str = "/v2/") -> int:
    return RegistryClient(server.host).request("GET", path, headers={"Authorization": authorization}).status


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "nothing changed in time"
        time.sleep(0.1)


def test_removed_user_is_cut_off_while_serving(members: RegistryServer, users: Path) -> None:
    assert get(members, basic("alice", "secret")) == 200
    write_htpasswd(users, bob="b")
    assert get(members, basic("alice", "secret")) == 401
    users.write_text("nonsense\n")
    assert get(members, basic("bob", "b")) == 200
    assert "reload failed, keeping the content read before" in members.log()
    assert "nonsense" not in members.log()


def test_rules_change_while_serving(ruled: RegistryServer) -> None:
    path = "/v2/bob/app/tags/list"
    assert get(ruled, basic("alice", "secret"), path) == 403
    document = json.loads(ruled.config_path.read_text())
    document["access"]["rules"].append({"who": ["alice"], "repositories": ["bob/**"], "actions": ["pull"]})
    document["access"]["blockedusers"] = ["bob"]
    ruled.config_path.write_text(json.dumps(document))
    subprocess.run(["kill", f"-{signal.SIGHUP.value}", str(ruled.pid)], check=True)
    wait_for(lambda: get(ruled, basic("alice", "secret"), path) == 404)
    assert get(ruled, basic("bob", "b"), path) == 403
    assert "take effect at the next start" not in ruled.log()


@pytest.mark.parametrize("workers", [1, 2])
def test_missing_file_of_users_is_told_at_start(tmp_path: Path, workers: int) -> None:
    auth = {"htpasswd": {"realm": "r", "path": str(tmp_path / "missing")}}
    server = serving(tmp_path, auth=auth, http={"workers": workers})
    with (
        pytest.raises(ServerError, match=r"ended with 1:(?s:.*)the htpasswd file .*missing: No such file") as raised,
        server,
    ):
        pass
    assert "Traceback" not in str(raised.value)


def test_secrets_are_in_no_log(ruled: RegistryServer, new_client: NewClient, layout: Path) -> None:
    client = new_client(Skopeo, ruled)
    login(client, "alice", "secret")
    client.push(layout, "v1", "team/app:v1")
    get(ruled, basic("alice", "hunter2"))
    log = ruled.log()
    assert " alice [" in log
    for text in ("hunter2", base64.b64encode(b"alice:secret").decode(), "Bearer ", "eyJ"):
        assert text not in log
