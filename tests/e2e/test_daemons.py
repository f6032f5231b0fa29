"""The daemons docker and containerd push to this registry and pull from it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemons import ContainerdDaemon, Ctr, Docker, DockerDaemon
from tests.support.oci import make_image, make_multi_platform_index, write_layout
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e


@pytest.fixture
def docker(dockerd: DockerDaemon, server: RegistryServer, tmp_path: Path, tool: Callable[[str], str]) -> Docker:
    tool("skopeo")
    return Docker(tmp_path / "docker", server.host, dockerd)


@pytest.fixture
def new_ctr(containerd: ContainerdDaemon, server: RegistryServer, tmp_path: Path) -> Callable[[str], Ctr]:
    """Make clients that have pulled nothing; all find the registry by `hosts.toml`."""

    def make(name: str) -> Ctr:
        ctr = Ctr(tmp_path / name, "registry.example", containerd)
        capabilities = '["pull", "resolve", "push"]'
        ctr.configure_host("registry.example", f'[host."{server.url}"]\ncapabilities = {capabilities}\n')
        return ctr

    return make


def test_docker_pulls_the_image_that_it_pushed(docker: Docker, registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(1, layer_sizes=(10_000, 300_000))
    layout = write_layout(tmp_path / "layout", image, "v1")

    docker.push(layout, "v1", "daemons/docker:v1")

    assert docker.pull("daemons/docker:v1") == image.blobs[0].digest
    # Docker compresses the layers itself, so that only the config is the same.
    assert image.blobs[0].digest in registry.pull("daemons/docker", "v1")


def test_docker_pulls_its_platform_of_a_list(docker: Docker, registry: RegistryClient) -> None:
    index = make_multi_platform_index(2, docker=True)
    registry.push("daemons/list", "v1", index)

    assert docker.pull("daemons/list:v1") == index.images[0].blobs[0].digest
    assert docker.pull(f"daemons/list@{index.digest}") == index.images[0].blobs[0].digest


def test_containerd_pulls_the_image_that_it_pushed(
    new_ctr: Callable[[str], Ctr], registry: RegistryClient, tmp_path: Path
) -> None:
    image = make_image(3, layer_sizes=(10_000, 300_000))
    layout = write_layout(tmp_path / "layout", image, "v1")

    new_ctr("first").push(layout, "v1", "daemons/containerd:v1")

    assert registry.get_manifest("daemons/containerd", "v1").digest == image.digest
    assert new_ctr("second").pull("daemons/containerd:v1") == image.digest


def test_containerd_pulls_all_platforms_of_an_index(new_ctr: Callable[[str], Ctr], registry: RegistryClient) -> None:
    index = make_multi_platform_index(4)
    registry.push("daemons/index", "v1", index)
    ctr = new_ctr("client")

    assert ctr.pull_image(ctr.reference("daemons/index:v1"), "--all-platforms") == index.digest
    assert ctr.content() == registry.pull("daemons/index", "v1").keys()
