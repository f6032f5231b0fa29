"""`tls=` of the DSN against servers with and without a certificate."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from adapters.catalog_index.go_dsn import MySqlAddress, TlsMode, parse_go_dsn
from adapters.catalog_index.mysql.connections import Connections, Session
from core.errors import StorageUnavailableError
from tests.support.mariadb import Database, MariaDbServer
from tests.support.mariadb_fixtures import run_server
from tests.support.sockets import open_sockets


@pytest.fixture
def address(database: Database) -> MySqlAddress:
    return parse_go_dsn(database.dsn)


@pytest.fixture(scope="module")
def server(mariadb_programs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDbServer]:
    """One with a certificate that no authority knows."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=db.example", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    yield from run_server(*mariadb_programs, f"--ssl-key={key}", f"--ssl-cert={certificate}")


@pytest.fixture
def tls_address(server: MariaDbServer) -> MySqlAddress:
    return parse_go_dsn(server.create_database().dsn)


@pytest.mark.parametrize("mode", [TlsMode.UNVERIFIED, TlsMode.PREFERRED])
async def test_connection_is_encrypted(tls_address, mode):
    connections = Connections(replace(tls_address, tls=mode), size=1, retry_seconds=1)
    [(_, version)] = await connections.work(lambda session: session.rows("SHOW STATUS LIKE 'Ssl_version'"))
    assert version.startswith("TLS")
    await connections.aclose()


async def test_end_waits_until_encrypted_connections_are_closed(tls_address):
    before = open_sockets()
    connections = Connections(replace(tls_address, tls=TlsMode.PREFERRED), size=2, retry_seconds=1)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(connections.work(lambda session: session.rows("SELECT SLEEP(0.1)")))
    assert len(open_sockets() - before) == 2
    await connections.aclose()
    assert open_sockets() <= before


async def test_borrowed_tls_connection_is_closed_when_it_is_returned(tls_address):
    before = open_sockets()
    connections = Connections(replace(tls_address, tls=TlsMode.PREFERRED), size=1, retry_seconds=1)

    async def end_in_between(session: Session) -> None:
        await session.run("SELECT 1")
        await connections.aclose()

    await connections.work(end_in_between)
    assert open_sockets() <= before


async def test_end_does_not_wait_for_a_server_that_hangs(tls_address, server):
    before = open_sockets()
    connections = Connections(replace(tls_address, tls=TlsMode.PREFERRED), size=1, retry_seconds=1)
    await connections.work(lambda session: session.rows("SELECT 1"))
    server.send(signal.SIGSTOP)
    try:
        await connections.aclose()
        await until_closed(before)
    finally:
        server.send(signal.SIGCONT)


async def test_encrypted_connection_whose_statement_hangs_is_cut_off(tls_address):
    before = open_sockets()
    hasty = replace(tls_address, tls=TlsMode.PREFERRED, statement_seconds=0.2)
    connections = Connections(hasty, size=1, retry_seconds=1)
    with pytest.raises(StorageUnavailableError, match="does not answer in time"):
        await connections.work(lambda session: session.run("SELECT SLEEP(60)"))
    await until_closed(before)


async def until_closed(before: frozenset[str]) -> None:
    """Let asyncio close the aborted connections, which takes two iterations and no answer."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert open_sockets() <= before


async def test_unknown_certificate_is_refused(tls_address):
    connections = Connections(replace(tls_address, tls=TlsMode.REQUIRED), size=1, retry_seconds=1)
    with pytest.raises(StorageUnavailableError):
        await connections.work(lambda session: session.rows("SELECT 1"))
    await connections.aclose()


@pytest.mark.parametrize("mode", [TlsMode.REQUIRED, TlsMode.UNVERIFIED])
async def test_plain_server_is_refused_when_tls_is_required(address, mode):
    connections = Connections(replace(address, tls=mode), size=1, retry_seconds=1)
    with pytest.raises(StorageUnavailableError, match="does not support TLS, which the DSN requires"):
        await connections.work(lambda session: session.rows("SELECT 1"))
    await connections.aclose()


async def test_plain_server_is_accepted_when_tls_is_preferred(address):
    connections = Connections(replace(address, tls=TlsMode.PREFERRED), size=1, retry_seconds=1)
    assert await connections.work(lambda session: session.rows("SELECT 1")) == [(1,)]
    await connections.aclose()
