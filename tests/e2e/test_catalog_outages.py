"""A push at one process and a deletion at another during an outage of the index leave no wrong name in the catalog."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.catalogs import TINY, catalog_when_back, push, registries, wait_until
from tests.support.mariadb import Database, MariaDbServer
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

_UPKEEP_SECONDS = 6.0


@contextmanager
def killed(mariadb: MariaDbServer, _database: Database) -> Iterator[None]:
    mariadb.kill()
    try:
        yield
    finally:
        mariadb.start()


@contextmanager
def frozen(mariadb: MariaDbServer, _database: Database) -> Iterator[None]:
    """A stopped server executes pending statements when it continues, although the registry gave up on them."""
    mariadb.send(signal.SIGSTOP)
    try:
        yield
    finally:
        mariadb.send(signal.SIGCONT)


@contextmanager
def read_only(mariadb: MariaDbServer, _database: Database) -> Iterator[None]:
    mariadb.sql("SET GLOBAL read_only = 1")
    try:
        yield
    finally:
        mariadb.sql("SET GLOBAL read_only = 0")


@contextmanager
def dropped(_mariadb: MariaDbServer, database: Database) -> Iterator[None]:
    database.sql("RENAME TABLE repositories TO hidden")
    try:
        yield
    finally:
        # Made again by whichever registry came first, or not yet.
        database.sql("DROP TABLE hidden")


@contextmanager
def without_rights(mariadb: MariaDbServer, database: Database) -> Iterator[None]:
    mariadb.sql(f"REVOKE INSERT, DELETE ON {database.name}.* FROM {database.user}@'%'")
    database.end_connections()
    try:
        yield
    finally:
        mariadb.sql(f"GRANT ALL ON {database.name}.* TO {database.user}@'%'")
        database.end_connections()


@contextmanager
def folder_in_place(path: Path) -> Iterator[None]:
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    yield
    path.rmdir()
    path.with_suffix(".away").rename(path)


@contextmanager
def removed(path: Path) -> Iterator[None]:
    path.unlink()
    yield


def check(servers: list[RegistryServer], outage: AbstractContextManager[None], team: str) -> None:
    """Push and delete at both processes during the outage; afterwards both list what storage holds."""
    one, other = (RegistryClient(server.host) for server in servers)
    kept, gone, again, ghost = (f"{team}/{name}" for name in ("kept", "gone", "again", "ghost"))
    push(one, kept, gone, again)
    with outage:
        push(one, f"{ghost}/one")
        other.delete_manifest(f"{ghost}/one", TINY.digest)
        push(other, f"{ghost}/other")
        one.delete_manifest(f"{ghost}/other", TINY.digest)
        one.delete_manifest(gone, TINY.digest)
        other.delete_manifest(again, TINY.digest)
        push(one, again)
    for client in (other, one):
        catalog_when_back(client)
    for client in (other, one):
        wait_until(partial(lists, client, team, [again, kept]))


def check_after_upkeep(servers: list[RegistryServer], *teams: str) -> None:
    """Each worker process writes its missed changes, the last one at its next upkeep: all lists stay as they are."""
    time.sleep(_UPKEEP_SECONDS)
    for server in servers:
        for team in teams:
            wait_until(partial(lists, RegistryClient(server.host), team, [f"{team}/again", f"{team}/kept"]))


def lists(client: RegistryClient, team: str, names: list[str]) -> bool:
    """Return whether these are the repositories of a team in the catalog."""
    return [name for name in catalog_when_back(client) if name.startswith(f"{team}/")] == names


@pytest.fixture(scope="module")
def indexed(
    mariadb: MariaDbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, list[RegistryServer]]]:
    """Two registries on one table, which outlive every outage; each test uses a team of its own."""
    mariadb.ensure_running()
    database = mariadb.create_database()
    dsn = f"{database.dsn}?timeout=1s&readTimeout=500ms&writeTimeout=500ms"
    environment = {"SEARCH_BACKEND": "MYSQL", "SEARCH_BACKEND_MYSQL": dsn}
    with registries(tmp_path_factory.mktemp("indexed"), environment, count=2) as servers:
        yield database, servers
        teams = {name.partition("/")[0] for name in catalog_when_back(RegistryClient(servers[0].host))}
        check_after_upkeep(servers, *teams)


@pytest.mark.parametrize("outage", [killed, frozen, read_only, dropped, without_rights])
def test_no_ghost_after_an_outage_of_mysql(
    indexed: tuple[Database, list[RegistryServer]],
    mariadb: MariaDbServer,
    outage: Callable[[MariaDbServer, Database], AbstractContextManager[None]],
) -> None:
    database, servers = indexed
    check(servers, outage(mariadb, database), outage.__name__)


@pytest.mark.parametrize("outage", [folder_in_place, removed])
def test_no_ghost_after_an_outage_of_the_file(
    tmp_path: Path, outage: Callable[[Path], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "repositories"
    environment = {"SEARCH_BACKEND": "LOCAL", "REGISTRY_CATALOG_LOCAL_PATH": str(path)}
    with registries(tmp_path, environment, count=2) as servers:
        check(servers, outage(path), "team")
        check_after_upkeep(servers, "team")
