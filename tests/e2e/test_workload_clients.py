"""Real clients over TLS that send the token of a workload as the password of any user name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.clients import CommandError, CommandLineClient
from tests.support.daemons import Docker, DockerDaemon
from tests.support.helm import package_chart, run_helm, use_home
from tests.support.htpasswd import write_htpasswd
from tests.support.identity_provider import IdentityProvider
from tests.support.oci import make_image, write_layout
from tests.support.tls_clients import TLS_CLIENTS, log_in, trust, write_docker_folder
from tests.support.tls_servers import TlsRegistryServer

pytestmark = pytest.mark.e2e

IMAGE = make_image(81, layer_sizes=(10_000,))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[IdentityProvider]:
    with IdentityProvider(tls=authority.issue("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def config(
    authority: Authority, provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Any]:
    workloads = {
        "issuer": provider.url,
        "audiences": ["registry.example"],
        "ca": str(authority.path),
        "when": {"repository": "corp/*"},
        "user": "gha:{repository}",
        "groups": ["ci"],
    }
    passwords = write_htpasswd(tmp_path_factory.mktemp("users") / "htpasswd", alice="secret")
    return {
        "auth": {"htpasswd": {"realm": "r", "path": str(passwords)}, "workloads": [workloads]},
        "access": {
            "rules": [
                {"who": ["@ci"], "repositories": ["corp/**"], "actions": ["pull"]},
                {"who": ["gha:corp/app"], "repositories": ["corp/app"], "actions": ["pull", "push"]},
                {"who": ["gha:corp/registry"], "repositories": ["corp/registry"], "actions": ["pull", "push"]},
            ]
        },
        "http": {"workers": 2},
    }


@pytest.fixture(scope="module")
def server(
    authority: Authority, config: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsRegistryServer]:
    folder = tmp_path_factory.mktemp("server")
    with TlsRegistryServer(folder, folder / "storage", authority.issue("server"), config=config) as running:
        yield running


@dataclass(frozen=True)
class World:
    """A registry over TLS, and the issuer of the tokens that it accepts."""

    server: TlsRegistryServer
    authority: Authority
    provider: IdentityProvider
    config: Mapping[str, Any]


@pytest.fixture(scope="module")
def world(
    server: TlsRegistryServer, authority: Authority, provider: IdentityProvider, config: Mapping[str, Any]
) -> World:
    return World(server, authority, provider, config)


@pytest.fixture
def new_client(
    server: TlsRegistryServer, authority: Authority, tmp_path: Path, tool: Callable[[str], str]
) -> Callable[[type[CommandLineClient], str], CommandLineClient]:
    """Makes clients that trust the registry's certificate."""

    def make(kind: type[CommandLineClient], name: str) -> CommandLineClient:
        tool(kind.program)
        return trust(kind(tmp_path / name, f"localhost:{server.port}"), authority)

    return make


@pytest.mark.parametrize("kind", TLS_CLIENTS, ids=lambda kind: kind.program)
def test_client_logs_in_with_the_token_of_a_workload(
    kind: type[CommandLineClient],
    provider: IdentityProvider,
    new_client: Callable[[type[CommandLineClient], str], CommandLineClient],
    tmp_path: Path,
) -> None:
    layout = write_layout(tmp_path / "layout", IMAGE, "v1")
    pusher, puller = new_client(kind, "pusher"), new_client(kind, "puller")
    log_in(pusher, "oauth2accesstoken", provider.token())
    pusher.push(layout, "v1", f"corp/app:{kind.program}")
    with pytest.raises(CommandError):
        pusher.push(layout, "v1", f"corp/other:{kind.program}")
    log_in(puller, "k8s", provider.token(repository="corp/other"))
    assert puller.pull(f"corp/app:{kind.program}") == IMAGE.blobs[0].digest


def test_helm_logs_in_with_the_token_of_a_workload(
    world: World, tmp_path: Path, tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("helm")
    use_home(monkeypatch, tmp_path / "helm", world.authority)
    package, host = package_chart(tmp_path), f"localhost:{world.server.port}"
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    with pytest.raises(ValueError, match=r"(?i)unauthorized|401"):
        run_helm("registry", "login", host, "-u", "any", "-p", world.provider.token(aud="another.example"))
    run_helm("registry", "login", host, "-u", "any", "-p", world.provider.token(repository="corp/registry"))
    run_helm("push", str(package), f"oci://{host}/corp")
    run_helm("pull", f"oci://{host}/corp/registry", "--destination", str(pulled))
    assert (pulled / package.name).read_bytes() == package.read_bytes()


def test_docker_logs_in_with_the_token_of_a_workload(
    world: World, tls_dockerd: DockerDaemon, docker_certificates: Path, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    tool("skopeo")
    # `localhost` is ::1 for dockerd, see tests/support/daemons.py.
    pair = world.authority.issue("server")
    with TlsRegistryServer(tmp_path / "server", tmp_path / "storage", pair, config=world.config, ip="::1") as server:
        host = f"localhost:{server.port}"
        write_docker_folder(docker_certificates / host, None, world.authority)
        docker, stranger = (Docker(tmp_path / name, host, tls_dockerd) for name in ("docker", "stranger"))
        with pytest.raises(CommandError, match=r"(?i)unauthorized|401"):
            log_in(stranger, "any", world.provider.token(aud="another.example"))
        log_in(docker, "any", world.provider.token())
        docker.push(write_layout(tmp_path / "layout", IMAGE, "v1"), "v1", "corp/app:docker")
        assert docker.pull("corp/app:docker") == IMAGE.blobs[0].digest
