"""`docker search` and `podman search` find repositories, with and without a login."""

import base64
import json
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.clients import CommandError, CommandLineClient, Podman
from tests.support.daemons import Docker, DockerDaemon
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.oci import make_tiny_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient
from tests.support.tls_servers import TlsRegistryServer

pytestmark = pytest.mark.e2e

NAMES = ("search/api", "search/web", "search/web-shop")
RULES = [
    {"who": ["alice"], "actions": ["pull", "push", "catalog"]},
    {"who": ["bob"], "repositories": ["search/*-shop"], "actions": ["pull", "catalog"]},
    {"who": ["anonymous"], "repositories": ["search/api"], "actions": ["pull", "catalog"]},
]


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[RegistryServer]:
    """A registry with TLS that shows all repositories to alice, two to bob, and one to others."""
    folder = tmp_path / "ruled"
    folder.mkdir()
    pair = Authority(folder).issue("server")
    users = write_htpasswd(folder / "htpasswd", alice="secret", bob="b")
    config = {
        "http": {"workers": 1},
        "auth": {"htpasswd": {"realm": "r", "path": str(users)}},
        "access": {"rules": RULES},
    }
    with TlsRegistryServer(folder, folder / "storage", pair, config=config) as running:
        client = RegistryClient(running.host, context=pair.trusting_context())
        push(client, {"Authorization": basic("alice", "secret")})
        yield running


def push(client: RegistryClient, headers: dict[str, str]) -> None:
    image = make_tiny_image()
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


def test_docker_searches_without_login(
    dockerd: DockerDaemon, server: RegistryServer, registry: RegistryClient, tmp_path: Path
) -> None:
    push(registry, {})
    docker = Docker(tmp_path / "docker", server.host, dockerd)
    assert docker_search(docker, "web") == ["search/web", "search/web-shop"]
    assert docker_search(docker, "search/web-") == ["search/web-shop"]
    assert docker_search(docker, "search", "--limit=1") == ["search/api"]
    assert docker_search(docker, "tag:v1") == list(NAMES)
    assert docker_search(docker, "nothing") == []


def test_podman_searches_without_login(
    tool: Callable[[str], str], server: RegistryServer, registry: RegistryClient, tmp_path: Path
) -> None:
    tool("podman")
    push(registry, {})
    podman = Podman(tmp_path / "podman", server.host)
    assert podman_search(podman, "web") == ["search/web", "search/web-shop"]
    assert podman_search(podman, "tag:v1", "--limit=2") == list(NAMES[:2])
    assert set(NAMES) <= set(podman_search(podman, ""))


def test_clients_search_with_their_login(
    dockerd: DockerDaemon, ruled: RegistryServer, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("podman")
    docker, podman = Docker(tmp_path / "docker", ruled.host, dockerd), Podman(tmp_path / "podman", ruled.host)
    # Without a login, docker sends no credentials.
    assert docker_search(docker, "search") == ["search/api"]
    log_in(docker, "alice", "wrong")
    with pytest.raises(CommandError, match="401"):
        docker_search(docker, "web")
    log_in(docker, "alice", "secret")
    assert docker_search(docker, "web") == ["search/web", "search/web-shop"]
    log_in(docker, "bob", "b")
    assert docker_search(docker, "web") == ["search/web-shop"]

    # podman sends its login to the catalog only, which it reads if anonymous users may not search.
    log_in(podman, "bob", "b")
    assert podman_search(podman, "search") == ["search/api"]
    close_to_anonymous_users(ruled)
    assert podman_search(podman, "search") == ["search/web-shop"]


def close_to_anonymous_users(server: RegistryServer) -> None:
    document = json.loads(server.config_path.read_text())
    document["access"]["rules"] = RULES[:-1]
    server.config_path.write_text(json.dumps(document))
    server.signal(signal.SIGHUP)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = RegistryClient(server.host, context=context)
    ends = time.monotonic() + 60
    while client.request("GET", "/v1/search?q=search").status != 401:
        assert time.monotonic() < ends, server.log()
        time.sleep(0.05)
