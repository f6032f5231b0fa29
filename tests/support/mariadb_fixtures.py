"""The fixtures that lend a running MariaDB to tests; `tests/conftest.py` loads them for all folders."""

from collections.abc import Iterator

import pytest

from tests.support.mariadb import Database, MariaDbServer
from tests.support.tools import ToolMissingError, find_tool

_REMEDY = "MariaDB is not installed: apt-get install mariadb-server"


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> Iterator[MariaDbServer]:
    """Return the one server of a test run; a missing one skips, or fails with --require-live."""
    try:
        server = MariaDbServer(server=find_tool("mariadbd"), installer=find_tool("mariadb-install-db"))
    except ToolMissingError as missing:
        if request.config.getoption("--require-live"):
            pytest.fail(_REMEDY)
        pytest.skip(f"{_REMEDY} ({missing})")
    try:
        server.install()
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(mariadb: MariaDbServer) -> Iterator[Database]:
    """Return an empty database; the server runs before and after the test, whatever it did to it."""
    mariadb.ensure_running()
    yield mariadb.create_database()
    mariadb.ensure_running()
