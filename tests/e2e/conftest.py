"""Fixtures of the end-to-end tests: a server of ours, and clients that find their programs or skip."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import CommandLineClient
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One registry of ours for all tests of a file; each test uses repositories of its own."""
    folder = tmp_path_factory.mktemp("server")
    with RegistryServer(folder, folder / "storage") as running:
        yield running


@pytest.fixture
def registry(server: RegistryServer) -> RegistryClient:
    return RegistryClient(server.host)


@pytest.fixture
def new_client(
    tool: Callable[[str], str], server: RegistryServer, tmp_path: Path
) -> Callable[[type[CommandLineClient]], CommandLineClient]:
    """Makes clients with a fresh home each, so what one holds the next has to pull."""
    homes = iter(range(1_000))

    def make(kind: type[CommandLineClient]) -> CommandLineClient:
        tool(kind.program)
        return kind(tmp_path / f"home-{next(homes)}", server.host)

    return make
