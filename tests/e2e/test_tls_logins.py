"""Real clients over TLS: logins with passwords and API keys, client certificates, and a key that is revoked."""

import re
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Pair
from tests.support.clients import CommandError, CommandLineClient
from tests.support.commands import run_beside
from tests.support.daemons import ContainerdDaemon, Ctr, Docker, DockerDaemon
from tests.support.helm import package_chart, run_helm, use_home
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.oci import make_image, write_layout
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tls_clients import (
    TLS_CLIENTS,
    TlsCrane,
    TlsPodman,
    TlsSkopeo,
    log_in,
    trust,
    write_docker_folder,
)
from tests.support.tls_servers import TlsRegistryServer

pytestmark = pytest.mark.e2e

IMAGE = make_image(80, layer_sizes=(10_000,))
CONFIG_DIGEST = IMAGE.blobs[0].digest
RULES = [
    {"who": ["alice"], "repositories": ["team/**"], "actions": ["pull", "push"]},
    {"who": ["@cert:builders"], "repositories": ["team/**"], "actions": ["pull", "push"]},
]
REFUSED = r"(?i)unauthorized|authentication required|(incorrect|invalid) username( or |/)password|no basic auth|401"

Tool = Callable[[str], str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Sequence[TlsRegistryServer]]:
    folder, pair = tmp_path_factory.mktemp("replicas"), authority.issue("server")
    config = {
        "auth": {"htpasswd": {"realm": "r", "path": str(write_htpasswd(folder / "htpasswd", alice="secret"))}},
        "access": {"rules": RULES},
        "audit": {"file": str(folder / "audit.jsonl")},
        "http": {
            "workers": 1,
            "tls": {
                "clientcas": [str(authority.path)],
                "clientauth": "verify-client-cert-if-given",
                "clientidentity": {"from": "commonname", "groups": "organizationalunit"},
            },
        },
    }
    with (
        TlsRegistryServer(folder / "first", folder / "storage", pair, config=config) as first,
        TlsRegistryServer(folder / "second", folder / "storage", pair, config=config, ip="::1") as second,
    ):
        yield first, second


@dataclass(frozen=True)
class World:
    """Two replicas, what clients need to reach them, and an image."""

    replicas: Sequence[TlsRegistryServer]
    authority: Authority
    builder: Pair
    """The certificate of a client."""
    key: str
    """An API key of alice."""
    layout: Path

    @property
    def host(self) -> str:
        return host_of(self.replicas[0])

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.path))

    def client(self, kind: type[CommandLineClient], home: Path, server: RegistryServer | None = None) -> Any:
        return trust(kind(home, host_of(server) if server else self.host), self.authority)


@pytest.fixture(scope="module")
def world(
    replicas: Sequence[TlsRegistryServer], authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> World:
    builder = authority.issue_to_client("builder", common=["build 7"], units=["builders"])
    layout = write_layout(tmp_path_factory.mktemp("image") / "layout", IMAGE, "v1")
    return World(replicas, authority, builder, new_key(replicas[0])[1], layout)


def new_key(server: RegistryServer) -> tuple[str, str]:
    """Create an API key of alice; return its id and its token."""
    limits = ("--user", "alice", "--label", "test", "--repositories", "team/**", "--actions", "pull,push")
    done = run_beside(server, "keys", "create", *limits, "-c")
    found = re.search(r"srk_([0-9A-Za-z]{11})_[0-9A-Za-z]{49}", done.stdout)
    assert found, done
    return found[1], found[0]


def host_of(server: RegistryServer) -> str:
    return f"localhost:{server.port}"


@pytest.mark.parametrize("kind", TLS_CLIENTS, ids=lambda kind: kind.program)
def test_client_logs_in_with_a_password_and_with_a_key(
    kind: type[CommandLineClient], world: World, tmp_path: Path, tool: Tool
) -> None:
    tool(kind.program)
    stranger, pusher, puller = (world.client(kind, tmp_path / name) for name in ("stranger", "pusher", "puller"))
    name = f"team/{kind.program}:v1"
    if kind is TlsCrane:
        # crane stores a password unverified.
        log_in(stranger, "alice", "wrong")
        with pytest.raises(CommandError, match=REFUSED):
            stranger.push(world.layout, "v1", name)
    else:
        with pytest.raises(CommandError, match=REFUSED):
            log_in(stranger, "alice", "wrong")
    log_in(pusher, "alice", "secret")
    pusher.push(world.layout, "v1", name)
    log_in(puller, "alice", world.key)
    assert puller.pull(name) == CONFIG_DIGEST


def test_helm_logs_in_with_a_password_and_with_a_key(
    world: World, tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("helm")
    use_home(monkeypatch, tmp_path / "helm", world.authority)
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    package = package_chart(tmp_path)
    chart = f"oci://{world.host}/team/charts"
    with pytest.raises(ValueError, match=REFUSED):
        run_helm("registry", "login", world.host, "-u", "alice", "-p", "wrong")
    run_helm("registry", "login", world.host, "-u", "alice", "-p", "secret")
    run_helm("push", str(package), chart)
    run_helm("registry", "logout", world.host)
    run_helm("registry", "login", world.host, "-u", "alice", "-p", world.key)
    run_helm("pull", f"{chart}/registry", "--destination", str(pulled))
    assert (pulled / package.name).read_bytes() == package.read_bytes()


def test_revoked_key_ends_at_all_replicas(world: World, tmp_path: Path, tool: Tool) -> None:
    tool("crane")
    key_id, token = new_key(world.replicas[0])
    crane = world.client(TlsCrane, tmp_path / "crane")
    log_in(crane, "ci", token)
    crane.push(world.layout, "v1", "team/revoked:v1")
    other = RegistryClient(f"[::1]:{world.replicas[1].port}", context=world.context())

    def status_at_other() -> int:
        path, header = "/v2/team/revoked/manifests/v1", {"Authorization": basic("ci", token)}
        return other.request("GET", path, headers=header).status

    assert status_at_other() == 200
    assert run_beside(world.replicas[1], "keys", "revoke", key_id, "-c").returncode == 0
    ends = time.monotonic() + 60
    while status_at_other() != 401 or not re.search(REFUSED, refusal(crane, "team/revoked:v1")):
        assert time.monotonic() < ends
        time.sleep(0.1)


def refusal(client: CommandLineClient, name: str) -> str:
    """Return the reason for which a client gets no digest; empty if it gets one."""
    try:
        client.run("digest", client.reference(name))
    except CommandError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", [TlsSkopeo, TlsPodman], ids=lambda kind: kind.program)
def test_client_with_a_certificate_needs_no_login(
    kind: type[CommandLineClient], world: World, tmp_path: Path, tool: Tool
) -> None:
    tool(kind.program)
    client = world.client(kind, tmp_path / "client")
    folder = write_docker_folder(client.home / "certs", world.builder, world.authority)
    name = f"team/certified/{kind.program}:v1"
    target = f"docker://{client.reference(name)}"
    if kind is TlsSkopeo:
        with pytest.raises(CommandError, match=REFUSED):
            client.push(world.layout, "v1", name)
        client.run("--insecure-policy", "copy", f"--dest-cert-dir={folder}", f"oci:{world.layout}:v1", target)
        client.run("--insecure-policy", "copy", f"--src-cert-dir={folder}", target, f"dir:{tmp_path / 'pulled'}")
        assert (tmp_path / "pulled" / CONFIG_DIGEST.removeprefix("sha256:")).exists()
    else:
        image = client.run("pull", "--quiet", f"oci:{world.layout}:v1").split()[-1]
        client.run("push", f"--cert-dir={folder}", image, target)
        client.run("rmi", "--force", image)
        assert client.run("pull", "--quiet", f"--cert-dir={folder}", client.reference(name)).strip() in CONFIG_DIGEST


def test_docker_logs_in_or_has_a_certificate(
    tls_dockerd: DockerDaemon, docker_certificates: Path, world: World, tmp_path: Path, tool: Tool
) -> None:
    tool("skopeo")
    host = host_of(world.replicas[1])
    names = ("stranger", "password", "key", "certified")
    stranger, with_password, with_key, certified = (Docker(tmp_path / name, host, tls_dockerd) for name in names)
    write_docker_folder(docker_certificates / host, None, world.authority)
    with pytest.raises(CommandError, match=REFUSED):
        log_in(stranger, "alice", "wrong")
    log_in(with_password, "alice", "secret")
    with_password.push(world.layout, "v1", "team/docker:v1")
    log_in(with_key, "alice", world.key)
    assert with_key.pull("team/docker:v1") == CONFIG_DIGEST
    with_key.remove(with_key.reference("team/docker:v1"))
    with pytest.raises(CommandError, match=REFUSED):
        stranger.pull("team/docker:v1")
    write_docker_folder(docker_certificates / host, world.builder, world.authority)
    # The registry asks for no password, so docker sends none.
    log_in(certified, "alice", "wrong")
    certified.push(world.layout, "v1", "team/docker:v2")
    assert certified.pull("team/docker:v2") == CONFIG_DIGEST


def test_containerd_has_a_certificate(containerd: ContainerdDaemon, world: World, tmp_path: Path, tool: Tool) -> None:
    tool("crane")
    crane = world.client(TlsCrane, tmp_path / "crane")
    log_in(crane, "alice", "secret")
    crane.push(world.layout, "v1", "team/containerd:v1")
    ctr = Ctr(tmp_path / "ctr", world.host, containerd)
    section = f'[host."https://{world.host}"]\nca = "{world.authority.path}"\n'
    ctr.configure_host(world.host, section)
    with pytest.raises(CommandError, match=REFUSED):
        ctr.pull("team/containerd:v1")
    certificate, key = world.builder.certificate, world.builder.key
    ctr.configure_host(world.host, f'{section}client = [["{certificate}", "{key}"]]\n')
    assert ctr.pull("team/containerd:v1") == IMAGE.digest
