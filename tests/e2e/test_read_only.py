"""`registry readonly` at two servers of two processes each, on one folder, with a real client."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.caches import until
from tests.support.clients import CommandError, Skopeo
from tests.support.commands import run_registry
from tests.support.oci import digest_of, make_image, write_layout
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

TRIES = 12
"""Connections of their own, so that both processes of a server are met."""
SWITCH = "docker/registry/v2/_control/readonly"


@pytest.fixture
def server(servers: list[RegistryServer]) -> RegistryServer:
    """The address of the server for clients."""
    return servers[1]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RegistryServer]]:
    """Two replicas; each test leaves them writable."""
    config, folder = {"http": {"workers": 2}}, tmp_path_factory.mktemp("replicas")
    with (
        RegistryServer(folder / "one", folder / "storage", config=config) as one,
        RegistryServer(folder / "two", folder / "storage", config=config) as two,
    ):
        yield [one, two]


def readonly(server: RegistryServer, *words: str) -> str:
    done = run_registry("readonly", *words, str(server.config_path))
    assert done.returncode == 0, done.stderr
    return done.stdout


def statuses(servers: list[RegistryServer]) -> set[int]:
    clients = [RegistryClient(server.host) for server in servers]
    return {client.request("POST", "/v2/a/blobs/uploads/").status for client in clients for _ in range(TRIES)}


def follow(servers: list[RegistryServer], status: int) -> None:
    """Wait until all processes of all servers answer so."""
    until(lambda: statuses(servers) == {status}, every=0.3)


def test_all_processes_of_all_replicas_follow(servers: list[RegistryServer]) -> None:
    assert statuses(servers) == {202}
    RegistryClient(servers[0].host).push("a", "v1", make_image(1))
    readonly(servers[0], "on", "--reason", "moving to new disks")
    follow(servers, 405)
    assert "moving to new disks" in readonly(servers[1], "status")
    for server in servers:
        client = RegistryClient(server.host)
        assert b"moving to new disks" in client.request("PUT", "/v2/a/manifests/v2", body=b"{}").expect(405).body
        client.request("DELETE", "/v2/a/manifests/v1").expect(405)
        assert client.pull("a", "v1")
    readonly(servers[1], "off")
    follow(servers, 202)


def test_read_only_mode_expires_also_after_a_kill(servers: list[RegistryServer]) -> None:
    client = RegistryClient(servers[0].host)
    assert statuses(servers) == {202}
    location = client.start_upload("a").header("Location")
    location = client.append(location, b"begun before").expect(202).header("Location")
    readonly(servers[0], "on", "--for", "1h")
    follow(servers, 405)
    client.append(location, b" and after").expect(405)

    servers[1].kill()
    servers[1].start()
    assert (
        0 < int(RegistryClient(servers[1].host).request("POST", "/v2/a/blobs/uploads/").header("Retry-After")) <= 3600
    )
    assert statuses([servers[1]]) == {405}

    readonly(servers[0], "on", "--for", "1s")
    follow(servers, 202)
    location = client.append(location, b" and after").expect(202).header("Location")
    client.finish_upload(location, digest_of(b"begun before and after")).expect(201)


def test_client_shows_the_reason(
    servers: list[RegistryServer], new_client: Callable[..., Skopeo], tmp_path: Path
) -> None:
    layout = write_layout(tmp_path / "layout", make_image(2), "v1")
    switch = servers[0].storage / SWITCH
    switch.parent.mkdir(parents=True, exist_ok=True)
    # By hand, as an operator does who has only a shell on the store.
    switch.write_text("the store is being copied\n")
    follow(servers, 405)
    skopeo = new_client(Skopeo)
    with pytest.raises(CommandError, match="the store is being copied"):
        skopeo.push(layout, "v1", "c:v1")
    switch.unlink()
    follow(servers, 202)
    skopeo.push(layout, "v1", "c:v1")
