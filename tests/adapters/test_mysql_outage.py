"""The server dies, returns, hangs, refuses: callers get an error soon, without secrets, and the index recovers."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.go_dsn import MySqlAddress, Secret, parse_go_dsn
from adapters.catalog_index.mysql import MySqlCatalogIndex
from adapters.catalog_index.mysql.connections import Connections, Session
from adapters.catalog_index.mysql.schema import create_statement
from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.registry.catalog import CatalogService
from core.store import layout
from tests.contracts.catalog_index_contract import all_names, stream
from tests.support.mariadb import Database

NAME = RepositoryName("library/redis")
DIGEST = Digest("sha256:" + "a" * 64)


def now() -> datetime:
    return datetime(2026, 11, 24, tzinfo=UTC)


def open_index(address: MySqlAddress) -> MySqlCatalogIndex:
    return MySqlCatalogIndex(address, now=now, retry_seconds=0.05)


@pytest.fixture
def address(database: Database) -> MySqlAddress:
    database.sql(create_statement())
    return parse_go_dsn(f"{database.dsn}?timeout=2s&readTimeout=2s")


@pytest.fixture
async def index(address: MySqlAddress) -> AsyncIterator[MySqlCatalogIndex]:
    async with open_index(address) as index:
        yield index


async def until_it_answers(index: MySqlCatalogIndex) -> None:
    """Wait as long as a caller has to who comes back: the time between two attempts."""
    for _ in range(20):
        try:
            return await index.check()
        except StorageUnavailableError:
            await asyncio.sleep(0.05)
    return await index.check()


async def test_restart_causes_no_error(index, mariadb):
    """The connections are dead, the server is not: the call is made again on a new one."""
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(index.add(RepositoryName(f"a{number}")))
    mariadb.kill()
    mariadb.start()
    await index.add(NAME)
    assert len(await all_names(index)) == 6


async def test_outage_is_an_error_and_heals(index, mariadb):
    await index.add(RepositoryName("before"))
    mariadb.kill()
    with pytest.raises(StorageUnavailableError, match=rf"MySQL at 127.0.0.1:{mariadb.port} "):
        await index.add(NAME)
    with pytest.raises(StorageUnavailableError):
        await index.page(after="", limit=10)
    with pytest.raises(StorageUnavailableError):
        await index.check()
    mariadb.start()
    await until_it_answers(index)
    await index.add(NAME)
    assert await all_names(index) == ["before", NAME]


async def test_index_opens_without_server_and_heals(address, mariadb):
    mariadb.stop()
    async with open_index(address) as index:
        with pytest.raises(StorageUnavailableError):
            await index.page(after="", limit=1)
        mariadb.start()
        await until_it_answers(index)
        await index.add(NAME)
        assert await all_names(index) == [NAME]


async def test_kill_during_a_rebuild_keeps_the_old_set(index, mariadb):
    async def killing() -> AsyncIterator[RepositoryName]:
        yield RepositoryName("new")
        mariadb.kill()

    await index.replace_all(stream(["old/a", "old/b"]))
    with pytest.raises(StorageUnavailableError):
        await index.replace_all(killing())
    mariadb.start()
    await until_it_answers(index)
    assert await all_names(index) == ["old/a", "old/b"]


async def test_restart_during_a_rebuild_causes_no_error(index, mariadb):
    async def restarting() -> AsyncIterator[RepositoryName]:
        yield RepositoryName("new")
        mariadb.kill()
        mariadb.start()

    await index.replace_all(stream(["old"]))
    await index.replace_all(restarting())
    assert await all_names(index) == ["new"]


async def test_killed_connections_are_replaced(index, database):
    await index.add(NAME)
    database.end_connections()
    assert await all_names(index) == [NAME]


@pytest.fixture
async def silent() -> AsyncIterator[tuple[MySqlAddress, list[asyncio.StreamWriter]]]:
    """A server that accepts connections and never sends a byte, as behind a broken load balancer; its connections."""
    accepted: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        await released.wait()
        writer.close()

    released = asyncio.Event()
    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield MySqlAddress(database="d", user="u", port=port, connect_seconds=0.2), accepted
    released.set()
    server.close()
    await server.wait_closed()


async def test_silent_server_blocks_one_caller_at_a_time(silent):
    address, accepted = silent
    index = MySqlCatalogIndex(address, now=now, retry_seconds=3600)
    with pytest.raises(StorageUnavailableError, match="does not answer in time"):
        await index.add(NAME)
    for _ in range(100):
        with pytest.raises(StorageUnavailableError, match="does not answer in time"):
            await index.add(NAME)
    assert len(accepted) == 1
    await index.__aexit__(None, None, None)


async def test_slow_statement_is_given_up(address):
    async with open_index(address) as index:
        connections = Connections(replace(address, statement_seconds=0.2), size=1, retry_seconds=1)
        with pytest.raises(StorageUnavailableError, match="does not answer in time"):
            await connections.work(lambda session: session.run("SELECT SLEEP(5)"))
        await index.add(NAME)
        await connections.aclose()


@pytest.mark.parametrize("code", [1213, 1205])
async def test_conflict_with_another_transaction_is_retried(address, code):
    attempts = []

    async def conflict_twice(session: Session) -> str:
        attempts.append(session)
        if len(attempts) < 3:
            await session.run("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = %s", (code,))
        return "done"

    connections = Connections(address, size=1, retry_seconds=1)
    assert await connections.work(conflict_twice) == "done"
    await connections.aclose()


async def test_endless_conflict_is_given_up(address):
    connections = Connections(address, size=1, retry_seconds=1)
    with pytest.raises(StorageUnavailableError, match="drops every connection"):
        await connections.work(lambda session: session.run("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"))
    await connections.aclose()


async def test_borrowed_connection_is_closed_when_it_is_returned_after_the_end(address, database):
    async with open_index(address) as index:
        page = asyncio.create_task(index.page(after="", limit=1))
        await asyncio.sleep(0)
    await page
    left = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s"
    for _ in range(100):
        if database.sql(left, database.user) == [(0,)]:
            break
        await asyncio.sleep(0.01)
    assert database.sql(left, database.user) == [(0,)]


async def test_failed_transaction_leaves_nothing(address, database):
    async def fail_half_way(session: Session) -> None:
        async with session.transaction():
            await session.run("INSERT INTO repositories VALUES ('half', 1)")
            await session.run("SIGNAL SQLSTATE '45000'")

    async with open_index(address) as index:
        await index.check()
        connections = Connections(address, size=1, retry_seconds=1)
        with pytest.raises(StorageUnavailableError, match="returned error 1644"):
            await connections.work(fail_half_way)
        await connections.aclose()
        assert database.sql("SELECT * FROM repositories") == []


WRONG = {
    "password": lambda address: replace(address, password=Secret("hunter2:s3cr3t")),
    "user": lambda address: replace(address, user="hunter2user"),
    "database": lambda address: replace(address, database="hunter2base"),
    "port": lambda address: replace(address, port=1),
    "host": lambda address: replace(address, host="host.invalid"),
    "socket": lambda address: replace(address, socket="/nonexistent/sock"),
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
async def test_messages_of_a_broken_server_contain_no_secret(address, database, caplog, spoil):
    caplog.set_level(logging.DEBUG)
    async with open_index(spoil(address)) as index:
        with pytest.raises(StorageUnavailableError) as caught:
            await index.add(NAME)
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + str(caught.value) + repr(vars(index))
    for secret in (database.password, database.user, "hunter2", "s3cr3t"):
        assert secret not in told


async def test_messages_of_a_working_server_contain_no_secret(address, database, caplog):
    caplog.set_level(logging.DEBUG)
    async with open_index(address) as index:
        await index.add(NAME)
    for secret in (database.password, database.user):
        assert secret not in caplog.text


async def test_every_push_is_in_the_catalog_after_three_kills(index, mariadb):
    """Pushes go on, as the registry records them, while the server is killed and started again."""
    storage = InMemoryBlobStorage(now=now)
    service = CatalogService(index, storage=storage)
    pushed: list[str] = []
    is_over = asyncio.Event()

    async def push(team: int) -> None:
        number = 0
        while not is_over.is_set():
            name = RepositoryName(f"team-{team}/app-{number}")
            await storage.write(layout.revision_link(name, DIGEST), DIGEST.encode())
            await service.record_push(name)
            pushed.append(name)
            number += 1
            await asyncio.sleep(0.001)

    async def kill_and_start() -> None:
        for _ in range(3):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(mariadb.kill)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(mariadb.start)
        is_over.set()

    async with asyncio.TaskGroup() as group:
        for team in range(3):
            group.create_task(push(team))
        group.create_task(kill_and_start())
    assert service.pending > 0
    await until_it_answers(index)
    await service.flush_pending()
    assert await all_names(index) == sorted(pushed)
