"""Fixtures that provide a running MariaDB; `tests/conftest.py` loads them for all folders."""

from collections.abc import Iterator

import pytest

from tests.support.mariadb import Database, MariaDbServer
from tests.support.tools import ToolMissingError, find_tool

_REMEDY = "MariaDB is not installed: apt-get install mariadb-server"


@pytest.fixture(scope="session")
def mariadb_programs(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return server and installer; if they are missing, skip the test, or fail it with --require-live."""
    try:
        return find_tool("mariadbd"), find_tool("mariadb-install-db")
    except ToolMissingError:
        if request.config.getoption("--require-live"):
            pytest.fail(_REMEDY)
        pytest.skip(_REMEDY)


@pytest.fixture(scope="session")
def mariadb(mariadb_programs: tuple[str, str]) -> Iterator[MariaDbServer]:
    """Yield the single server of a test run."""
    yield from run_server(*mariadb_programs)


def run_server(program: str, installer: str, *options: str) -> Iterator[MariaDbServer]:
    """Yield a running server, and remove the server and its data afterwards."""
    server = MariaDbServer(server=program, installer=installer, options=options)
    try:
        server.install()
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(mariadb: MariaDbServer) -> Iterator[Database]:
    """Yield an empty database; the server runs before and after the test, whatever the test does to the server."""
    mariadb.ensure_running()
    yield mariadb.create_database()
    mariadb.ensure_running()
