"""`tls=` of the DSN against servers with and without a certificate."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from adapters.catalog_index.go_dsn import MySqlAddress, TlsMode, parse_go_dsn
from adapters.catalog_index.mysql.connections import Connections
from core.errors import StorageUnavailableError
from tests.support.mariadb import Database, MariaDbServer
from tests.support.mariadb_fixtures import run_server


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


async def test_unknown_certificate_is_refused(tls_address):
    connections = Connections(replace(tls_address, tls=TlsMode.REQUIRED), size=1, retry_seconds=1)
    with pytest.raises(StorageUnavailableError):
        await connections.work(lambda session: session.rows("SELECT 1"))
    await connections.aclose()


@pytest.mark.parametrize("mode", [TlsMode.REQUIRED, TlsMode.UNVERIFIED])
async def test_plain_server_is_refused_where_tls_is_demanded(address, mode):
    connections = Connections(replace(address, tls=mode), size=1, retry_seconds=1)
    with pytest.raises(StorageUnavailableError, match="offers no TLS, which the DSN demands"):
        await connections.work(lambda session: session.rows("SELECT 1"))
    await connections.aclose()


async def test_plain_server_will_do_where_tls_is_preferred(address):
    connections = Connections(replace(address, tls=TlsMode.PREFERRED), size=1, retry_seconds=1)
    assert await connections.work(lambda session: session.rows("SELECT 1")) == [(1,)]
    await connections.aclose()
