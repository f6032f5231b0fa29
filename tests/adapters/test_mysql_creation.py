"""The missing table is created with all of its rows, whatever breaks off the creation, and nothing else is left."""

from datetime import UTC, datetime
from typing import Any

import pymysql
import pytest

from adapters.catalog_index.go_dsn import parse_go_dsn
from adapters.catalog_index.mysql import MySqlCatalogIndex, creation, rebuild
from adapters.catalog_index.mysql.connections import Session
from adapters.catalog_index.mysql.schema import create_statement
from core.errors import CatalogLostError, StorageUnavailableError
from core.model.names import RepositoryName
from tests.contracts.catalog_index_contract import all_names, stream
from tests.support.mariadb import Database, MariaDbServer

NAMES = [f"app/{number}" for number in range(5)]
FOREIGN = f"repositories_new_{'a' * 16}_{'b' * 16}"


def open_index(database: Database) -> MySqlCatalogIndex:
    return MySqlCatalogIndex(parse_go_dsn(database.dsn), now=lambda: datetime.fromtimestamp(1_000, UTC))


def tables(database: Database) -> list[str]:
    return [name for (name,) in database.sql("SHOW TABLES")]


class Cut:
    """Cuts the connection before or after one statement that changes something, counted over all sessions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, at: int, is_executed: bool) -> None:
        self._run = Session.run
        self._left = at
        self._is_executed = is_executed
        cut = self

        async def run(session: Session, statement: str, values: Any = ()) -> int:
            return await cut.run(session, statement, values)

        monkeypatch.setattr(Session, "run", run)

    @property
    def has_cut(self) -> bool:
        return self._left < 0

    async def run(self, session: Session, statement: str, values: Any) -> int:
        self._left -= 1
        if self._left != -1:
            return await self._run(session, statement, values)
        if self._is_executed:
            await self._run(session, statement, values)
        raise ConnectionResetError


@pytest.fixture(autouse=True)
def write_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_WRITE_ROWS", 2)


@pytest.mark.parametrize("is_executed", [False, True])
async def test_broken_creation_leaves_no_table_or_a_complete_one(database, monkeypatch, is_executed):
    left: list[list[str]] = []
    for at in range(20):
        async with open_index(database) as index, open_index(database) as other:
            with monkeypatch.context() as patch:
                cut = Cut(patch, at=at, is_executed=is_executed)
                try:
                    await index.replace_all(stream(NAMES))
                except StorageUnavailableError:
                    assert cut.has_cut
            if not cut.has_cut:
                break
            left.append(tables(database))
            if "repositories" in left[-1]:
                assert await all_names(other) == NAMES
            else:
                with pytest.raises(CatalogLostError):
                    await other.page(after="", limit=1)
                await index.replace_all(stream(NAMES))
            assert await all_names(index) == NAMES
            assert tables(database) == ["repositories"], "what this process left is dropped"
            database.sql("DROP TABLE repositories")
    # The right to create, and that to rename; the table, three pieces, the rename.
    assert len(left) == 7
    assert sum(names not in ([], ["repositories"]) for names in left) == 4


async def test_broken_creation_without_the_right_to_rename_is_completed(mariadb: MariaDbServer, database, monkeypatch):
    """The empty table stays, because the user may not drop it either."""
    user = mariadb.create_user(database, f"{database.name}_w", "SELECT, INSERT, UPDATE, DELETE, CREATE")
    async with open_index(user) as index:
        with monkeypatch.context() as patch:
            Cut(patch, at=5, is_executed=True)
            with pytest.raises(StorageUnavailableError):
                await index.replace_all(stream(NAMES))
        assert (tables(database), await all_names(index)) == (["repositories"], [])
        await index.replace_all(stream(NAMES))
        assert await all_names(index) == NAMES


async def test_full_disk_leaves_no_table_and_no_second_leftover(database, monkeypatch):
    run = Session.run

    async def refuse(session: Session, text: str, values: Any = ()) -> int:
        if text.startswith("INSERT INTO"):
            raise pymysql.err.OperationalError(1114, "The table is full")
        return await run(session, text, values)

    async with open_index(database) as index:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "run", refuse)
            for _ in range(3):
                with pytest.raises(StorageUnavailableError, match="returned error 1114"):
                    await index.replace_all(stream(NAMES))
        [leftover] = tables(database)
        assert leftover.startswith("repositories_new_")
        await index.replace_all(stream(NAMES))
        assert (tables(database), await all_names(index)) == (["repositories"], NAMES)


@pytest.mark.parametrize("is_there", [True, False])
async def test_old_tables_of_other_processes_are_dropped(database, monkeypatch, is_there):
    """By an ordinary rebuild, and by one that creates the table."""
    mine = ["repositories_new_notes", "repositories_newer"]
    for table in (FOREIGN, *mine):
        database.sql(create_statement(table=table))
    async with open_index(database) as index:
        if is_there:
            database.sql(create_statement())
        await index.replace_all(stream(NAMES))
        assert tables(database) == sorted(["repositories", FOREIGN, *mine]), "it may be filled just now"
        if not is_there:
            database.sql("DROP TABLE repositories")
        monkeypatch.setattr(creation, "_OLD_SECONDS", 0)
        await index.replace_all(stream(NAMES))
        assert tables(database) == sorted(["repositories", *mine])


async def test_old_table_that_the_user_may_not_drop_stays(mariadb, database, monkeypatch):
    user = mariadb.create_user(database, f"{database.name}_w", "SELECT, INSERT, UPDATE, DELETE, CREATE")
    database.sql(create_statement(table=FOREIGN))
    monkeypatch.setattr(creation, "_OLD_SECONDS", 0)
    async with open_index(user) as index:
        for _ in range(2):
            await index.replace_all(stream(NAMES))
        assert await all_names(index) == NAMES
    assert tables(database) == sorted(["repositories", FOREIGN])


@pytest.mark.parametrize("at", ["before", "after"])
async def test_table_that_another_process_creates_first_is_used(database, monkeypatch, at):
    """Before the rows are written, or after that."""
    statement = {"before": "RENAME TABLE", "after": "INSERT INTO"}[at]
    run = Session.run

    async def overtake(session: Session, text: str, values: Any = ()) -> int:
        if text.startswith(statement) and tables(database).count("repositories") == 0:
            database.sql(create_statement())
            database.sql("INSERT INTO repositories VALUES ('app/1', 5), ('pushed', 6)")
        return await run(session, text, values)

    async with open_index(database) as index:
        monkeypatch.setattr(Session, "run", overtake)
        await index.replace_all(stream(NAMES))
        assert await all_names(index) == [*NAMES, "pushed"]
        assert not await index.add(RepositoryName("pushed"))
    assert tables(database) == ["repositories"]
    assert dict(database.sql("SELECT name, createTime FROM repositories"))["app/1"] == 5


async def test_rows_are_in_no_table_of_this_name_before_they_are_complete(database, monkeypatch):
    run, seen = Session.run, []

    async def watch(session: Session, text: str, values: Any = ()) -> int:
        seen.append(tables(database))
        return await run(session, text, values)

    async with open_index(database) as index:
        monkeypatch.setattr(Session, "run", watch)
        await index.replace_all(stream(NAMES))
    assert len(seen) > 5
    assert all("repositories" not in names for names in seen)
