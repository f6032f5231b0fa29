"""Fixtures that provide running daemons, containerd and dockerd; `tests/conftest.py` loads them for all folders."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.daemons import ContainerdDaemon, DockerDaemon, daemon_folder


@pytest.fixture(scope="module")
def daemons_folder(
    unavailable: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]
) -> Iterator[Path]:
    for program in ("containerd", "ctr", "dockerd", "docker"):
        tool(program)
    with daemon_folder(tmp_path_factory.mktemp("daemons") / "files", unavailable) as path:
        yield path


@pytest.fixture(scope="module")
def containerd(daemons_folder: Path) -> Iterator[ContainerdDaemon]:
    with ContainerdDaemon(daemons_folder / "containerd") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def docker_configuration() -> Mapping[str, Any]:
    """Return the content of `daemon.json`; files with a configuration of their own override this fixture."""
    return {"insecure-registries": ["127.0.0.0/8"]}


@pytest.fixture(scope="module")
def dockerd(
    daemons_folder: Path, containerd: ContainerdDaemon, docker_configuration: Mapping[str, Any]
) -> Iterator[DockerDaemon]:
    with DockerDaemon(daemons_folder / "docker", containerd, config=docker_configuration) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def docker_certificates(daemons_folder: Path) -> Path:
    """Return the folder `certs.d` of `tls_dockerd`."""
    folder = daemons_folder / "certs.d"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def tls_dockerd(docker_certificates: Path, containerd: ContainerdDaemon) -> Iterator[DockerDaemon]:
    """Return a daemon that reaches registries over TLS only."""
    home = docker_certificates.parent / "tls-docker"
    with DockerDaemon(home, containerd, config={}, certificates=docker_certificates) as daemon:
        yield daemon
