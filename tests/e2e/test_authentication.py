"""skopeo and podman log in, push, pull and are refused, by each method; the server reloads its users and rules."""

import base64
import json
import signal
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


def users_file(folder: Path) -> Path:
    return write_htpasswd(folder / "htpasswd", alice="secret", bob="b")


def serving(folder: Path, **config: Any) -> RegistryServer:
    return RegistryServer(folder, folder / "storage", config={"http": {"workers": 1}, **config})


def with_members(folder: Path, **config: Any) -> RegistryServer:
    """Return a registry that admits the users of a file."""
    return serving(folder, auth={"htpasswd": {"realm": "r", "path": str(users_file(folder))}}, **config)


def with_rules(folder: Path) -> RegistryServer:
    """Return a registry with users, rules and immutable tags."""
    groups = folder / "groups"
    groups.write_text("dev: alice\n")
    access = {
        "rules": RULES,
        "groupfile": str(groups),
        "immutabletags": [{"repositories": ["public/**"], "tags": ["v*"]}],
    }
    return with_members(folder, access=access)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with with_members(tmp_path_factory.mktemp("members")) as server:
        yield server


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with with_rules(tmp_path_factory.mktemp("ruled")) as server:
        yield server


@pytest.fixture(scope="module")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    rights: Mapping[str, Any] = {
        "": ("", {f"public/{kind.program}": ("pull",) for kind in (Skopeo, Podman)}),
        "alice": ("secret", {"*": ("pull", "push")}),
        "bob": ("b", {"*": ("pull",)}),
    }
    with TokenServer(tmp_path_factory.mktemp("tokens"), rights) as server:
        yield server


@pytest.fixture(scope="module")
def tokened(tmp_path_factory: pytest.TempPathFactory, token_server: TokenServer) -> Iterator[RegistryServer]:
    with serving(tmp_path_factory.mktemp("tokened"), auth={"token": token_server.settings}) as server:
        yield server


@pytest.fixture(scope="module")
def silly(tmp_path_factory: pytest.TempPathFactory, token_server: TokenServer) -> Iterator[RegistryServer]:
    section = {"realm": token_server.realm, "service": "s"}
    with serving(tmp_path_factory.mktemp("silly"), auth={"silly": section}) as server:
        yield server


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with serving(tmp_path_factory.mktemp("unprotected"), auth="none") as server:
        yield server


def login(client: CommandLineClient, name: str, password: str) -> None:
    client.run("login", "--tls-verify=false", "--username", name, "--password", password, client.host)


def assert_pushes_and_pulls(client: CommandLineClient, layout: Path, name: str) -> None:
    client.push(layout, "v1", name)
    assert client.pull(name) == IMAGE.blobs[0].digest


@CLIENTS
def test_clients_log_in_with_htpasswd(
    kind: type[CommandLineClient], members: RegistryServer, new_client: NewClient, layout: Path
) -> None:
    client, name = new_client(kind, members), f"team/{kind.program}:v1"
    with pytest.raises(CommandError, match=r"unauthorized|authentication required"):
        client.push(layout, "v1", name)
    with pytest.raises(CommandError, match=r"invalid username/password|unauthorized"):
        login(client, "alice", "wrong")
    login(client, "alice", "secret")
    assert_pushes_and_pulls(client, layout, name)


@CLIENTS
def test_clients_log_in_with_tokens(
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
    repository = f"public/{kind.program}"
    assert_pushes_and_pulls(writer, layout, f"{repository}:v1")
    assert f"repository:{repository}:pull,push" in token_server.asked
    login(reader, "bob", "b")
    with pytest.raises(CommandError, match=r"denied|unauthorized|authentication required"):
        reader.push(layout, "v1", f"{repository}:v2")
    for client in (reader, stranger):
        assert client.pull(f"{repository}:v1") == IMAGE.blobs[0].digest
    with pytest.raises(CommandError):
        stranger.push(layout, "v1", f"{repository}:v3")


@CLIENTS
def test_rules_limit_clients(
    kind: type[CommandLineClient], ruled: RegistryServer, new_client: NewClient, layout: Path
) -> None:
    alice, bob, stranger = (new_client(kind, ruled) for _ in range(3))
    with pytest.raises(CommandError):
        login(alice, "alice", "wrong")
    login(alice, "alice", "secret")
    login(bob, "bob", "b")
    public, private = f"public/{kind.program}/rules", f"bob/{kind.program}"
    assert_pushes_and_pulls(alice, layout, f"{public}:v1")
    for client in (bob, stranger):
        assert client.pull(f"{public}:v1") == IMAGE.blobs[0].digest
        with pytest.raises(CommandError, match=r"denied|unauthorized|authentication required"):
            client.push(layout, "v1", f"{public}:v2")
    assert_pushes_and_pulls(bob, layout, f"{private}:v1")
    with pytest.raises(CommandError, match=r"denied"):
        alice.pull(f"{private}:v1")


@CLIENTS
def test_immutable_tag_cannot_be_moved(
    kind: type[CommandLineClient], ruled: RegistryServer, new_client: NewClient, layout: Path, tmp_path: Path
) -> None:
    alice = new_client(kind, ruled)
    login(alice, "alice", "secret")
    repository = f"public/{kind.program}/immutable"
    alice.push(layout, "v1", f"{repository}:v1")
    alice.push(layout, "v1", f"{repository}:v1")
    other = write_layout(tmp_path / "other", make_image(71), "v1")
    with pytest.raises(CommandError, match=r"immutable|denied"):
        alice.push(other, "v1", f"{repository}:v1")
    alice.push(other, "v1", f"{repository}:latest")
    assert alice.pull(f"{repository}:v1") == IMAGE.blobs[0].digest


@CLIENTS
def test_clients_log_in_with_silly(
    kind: type[CommandLineClient], silly: RegistryServer, new_client: NewClient, layout: Path
) -> None:
    client = new_client(kind, silly)
    with pytest.raises(CommandError):
        login(client, "alice", "wrong")
    login(client, "alice", "secret")
    assert_pushes_and_pulls(client, layout, f"team/{kind.program}:v1")


@CLIENTS
def test_clients_need_no_login(
    kind: type[CommandLineClient], unprotected: RegistryServer, new_client: NewClient, layout: Path
) -> None:
    assert_pushes_and_pulls(new_client(kind, unprotected), layout, f"team/{kind.program}:v1")


def test_crane_pulls_without_a_login_and_lists_what_it_may(new_client: NewClient, layout: Path, tmp_path: Path) -> None:
    with with_rules(tmp_path) as server:
        alice = new_client(Crane, server)
        alice.run("auth", "login", "--username", "alice", "--password", "secret", alice.host)
        alice.push(layout, "v1", "public/app:v1")
        alice.push(layout, "v1", "team/app:v1")
        bob = new_client(Crane, server)
        assert bob.pull("public/app:v1") == IMAGE.blobs[0].digest
        bob.run("auth", "login", "--username", "bob", "--password", "b", bob.host)
        bob.push(layout, "v1", "bob/app:v1")
        assert bob.run("catalog", bob.host).split() == ["bob/app", "public/app"]


def get(server: RegistryServer, authorization: str, path: str = "/v2/") -> int:
    return RegistryClient(server.host).request("GET", path, headers={"Authorization": authorization}).status


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing changed in time"
        time.sleep(0.1)


def test_removed_user_is_cut_off_while_serving(tmp_path: Path) -> None:
    with with_members(tmp_path) as server:
        users = tmp_path / "htpasswd"
        assert get(server, basic("alice", "secret")) == 200
        write_htpasswd(users, bob="b")
        assert get(server, basic("alice", "secret")) == 401
        users.write_text("nonsense\n")
        assert get(server, basic("bob", "b")) == 200
        assert "reload failed, keeping the content read before" in server.log()
        assert "nonsense" not in server.log()


def test_rules_change_while_serving(tmp_path: Path) -> None:
    with with_rules(tmp_path) as server:
        path = "/v2/bob/app/tags/list"
        assert get(server, basic("alice", "secret"), path) == 403
        document = json.loads(server.config_path.read_text())
        document["access"]["rules"].append({"who": ["alice"], "repositories": ["bob/**"], "actions": ["pull"]})
        document["access"]["blockedusers"] = ["bob"]
        server.config_path.write_text(json.dumps(document))
        server.signal(signal.SIGHUP)
        wait_for(lambda: get(server, basic("alice", "secret"), path) == 404)
        assert get(server, basic("bob", "b"), path) == 403
        assert "take effect at the next start" not in server.log()


@pytest.mark.parametrize("workers", [1, 2])
def test_missing_htpasswd_file_stops_the_start(tmp_path: Path, workers: int) -> None:
    auth = {"htpasswd": {"realm": "r", "path": str(tmp_path / "missing")}}
    server = serving(tmp_path, auth=auth, http={"workers": workers})
    with (
        pytest.raises(ServerError, match=r"ended with 1:(?s:.*)the htpasswd file .*missing: No such file") as raised,
        server,
    ):
        pass
    assert "Traceback" not in str(raised.value)


def test_logs_contain_no_secrets(ruled: RegistryServer, new_client: NewClient, layout: Path) -> None:
    client = new_client(Skopeo, ruled)
    login(client, "alice", "secret")
    client.push(layout, "v1", "team/app:v1")
    get(ruled, basic("alice", "hunter2"))
    log = ruled.log()
    assert " alice [" in log
    for text in ("hunter2", base64.b64encode(b"alice:secret").decode(), "Bearer ", "eyJ"):
        assert text not in log
