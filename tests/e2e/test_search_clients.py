"""`docker search` and `podman search` find repositories, with and without a login."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import CommandError, CommandLineClient, Podman
from tests.support.daemons import Docker, DockerDaemon
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.oci import make_tiny_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

NAMES = ("search/api", "search/web", "search/web-shop")
RULES = [
    {"who": ["alice"], "actions": ["pull", "push", "catalog"]},
    {"who": ["bob"], "repositories": ["search/*-shop"], "actions": ["pull"]},
    {"who": ["bob"], "actions": ["catalog"], "repositories": ["nothing"]},
]


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that shows all repositories to alice, one to bob, and none to others."""
    folder = tmp_path_factory.mktemp("ruled")
    users = write_htpasswd(folder / "htpasswd", alice="secret", bob="b")
    config = {
        "http": {"workers": 1},
        "auth": {"htpasswd": {"realm": "r", "path": str(users)}},
        "access": {"rules": RULES},
    }
    with RegistryServer(folder, folder / "storage", config=config) as running:
        push(running, {"Authorization": basic("alice", "secret")})
        yield running


def push(server: RegistryServer, headers: dict[str, str]) -> None:
    image = make_tiny_image()
    client = RegistryClient(server.host)
    for name in NAMES:
        for blob in image.blobs:
            path = f"/v2/{name}/blobs/uploads/?digest={blob.digest}"
            client.request("POST", path, body=blob.data, headers=headers).expect(201)
        typed = headers | {"Content-Type": image.manifest.media_type}
        client.request("PUT", f"/v2/{name}/manifests/v1", body=image.manifest.data, headers=typed).expect(201)


def log_in(client: CommandLineClient, user: str, password: str) -> None:
    """Write the file that `docker login` writes, which podman reads too."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (client.home / ".docker" / "config.json").write_text(json.dumps({"auths": {client.host: {"auth": auth}}}))


def docker_search(docker: Docker, term: str, *options: str) -> list[str]:
    return docker.run("search", "--format={{.Name}}", *options, docker.reference(term)).split()


def podman_search(podman: CommandLineClient, term: str, *options: str) -> list[str]:
    found = podman.run("search", "--tls-verify=false", "--format={{.Name}}", *options, podman.reference(term))
    return [name.removeprefix(f"{podman.host}/") for name in found.split()]


def test_docker_searches_without_login(dockerd: DockerDaemon, server: RegistryServer, tmp_path: Path) -> None:
    push(server, {})
    docker = Docker(tmp_path / "docker", server.host, dockerd)
    assert docker_search(docker, "web") == ["search/web", "search/web-shop"]
    assert docker_search(docker, "search/web-") == ["search/web-shop"]
    assert docker_search(docker, "search", "--limit=1") == ["search/api"]
    assert docker_search(docker, "tag:v1") == list(NAMES)
    assert docker_search(docker, "nothing") == []


def test_docker_searches_with_its_login(dockerd: DockerDaemon, ruled: RegistryServer, tmp_path: Path) -> None:
    docker = Docker(tmp_path / "docker", ruled.host, dockerd)
    with pytest.raises(CommandError, match="401"):
        docker_search(docker, "web")
    log_in(docker, "alice", "secret")
    assert docker_search(docker, "web") == ["search/web", "search/web-shop"]
    log_in(docker, "bob", "b")
    assert docker_search(docker, "web") == ["search/web-shop"]


def test_podman_searches(
    tool: Callable[[str], str], server: RegistryServer, ruled: RegistryServer, tmp_path: Path
) -> None:
    tool("podman")
    push(server, {})
    podman = Podman(tmp_path / "anyone", server.host)
    assert podman_search(podman, "web") == ["search/web", "search/web-shop"]
    assert podman_search(podman, "tag:v1", "--limit=2") == list(NAMES[:2])
    assert set(NAMES) <= set(podman_search(podman, ""))
    podman = Podman(tmp_path / "bob", ruled.host)
    log_in(podman, "bob", "b")
    assert podman_search(podman, "web") == ["search/web-shop"]
