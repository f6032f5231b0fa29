"""Behaviour of MySQL alone: existing tables, time of push, rights, cost, and other replicas."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from adapters.catalog_index.go_dsn import parse_go_dsn
from adapters.catalog_index.mysql import MySqlCatalogIndex, rebuild
from adapters.catalog_index.mysql.schema import create_statement
from core.errors import StorageUnavailableError
from core.model.names import RepositoryName
from tests.contracts.catalog_index_contract import all_names, stream
from tests.support.mariadb import SEED_TABLE, Database, MariaDbServer

NAME = RepositoryName("library/redis")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def open_index(database: Database, clock: Callable[[], datetime] | None = None, **options: int) -> MySqlCatalogIndex:
    return MySqlCatalogIndex(parse_go_dsn(database.dsn), now=clock or Clock(), retry_seconds=0.05, **options)


@pytest.fixture(params=["ours", "seed"])
async def index(request, database: Database, clock: Clock) -> AsyncIterator[MySqlCatalogIndex]:
    database.sql(SEED_TABLE if request.param == "seed" else create_statement())
    async with open_index(database, clock) as index:
        yield index


async def never() -> AsyncIterator[RepositoryName]:
    """Names that must not be read, because the scan would be in vain."""
    raise AssertionError("storage was scanned")
    yield NAME


def rows(database: Database) -> dict[str, int]:
    return dict(database.sql("SELECT name, createTime FROM repositories"))


async def test_missing_table_is_created_as_domeos_reads_it(database):
    async with open_index(database) as index:
        await index.replace_all(stream([]))
        columns = database.sql("SHOW COLUMNS FROM repositories")
    assert [tuple(column[:5]) for column in columns] == [
        ("name", "varchar(1024)", "NO", "PRI", None),
        ("createTime", "bigint(20)", "NO", "", "0"),
    ]
    [(_, statement)] = database.sql("SHOW CREATE TABLE repositories")
    assert "ENGINE=InnoDB" in statement
    assert "ascii_bin" in statement


async def test_narrow_table_is_created_on_a_server_with_short_keys(database):
    """MySQL 5.5 and 5.6 allow 767 bytes."""
    database.sql("SET GLOBAL innodb_default_row_format = compact")
    try:
        async with open_index(database) as index:
            await index.replace_all(stream(["x" * 255]))
            assert await all_names(index) == ["x" * 255]
        [column, _] = database.sql("SHOW COLUMNS FROM repositories")
        assert column[1] == "varchar(255)"
    finally:
        database.sql("SET GLOBAL innodb_default_row_format = dynamic")


async def test_seed_table_with_rows_is_used_as_it_is(database):
    database.sql(SEED_TABLE)
    database.sql("INSERT INTO repositories VALUES ('a_b', 5), ('ab', 6), ('a-b', 7)")
    before = database.sql("SHOW CREATE TABLE repositories")
    async with open_index(database) as index:
        assert await all_names(index) == ["a-b", "a_b", "ab"]
    assert database.sql("SHOW CREATE TABLE repositories") == before
    assert rows(database) == {"a_b": 5, "ab": 6, "a-b": 7}


async def test_create_time_is_that_of_the_last_push(index, database, clock):
    await index.add(NAME)
    clock.seconds = 2_000
    await index.add(NAME)
    assert rows(database) == {NAME: 2_000}


async def test_rebuild_keeps_the_create_time_of_known_names(index, database, clock):
    await index.add(NAME)
    clock.seconds = 2_000
    await index.replace_all(stream([NAME, "library/nginx"]))
    assert rows(database) == {NAME: 1_000, "library/nginx": 2_000}


async def test_ghost_pushed_by_another_replica_during_the_rebuild_is_kept(index, database, clock):
    """Its row is there before and after, but its time of push is another."""

    async def push_elsewhere() -> AsyncIterator[RepositoryName]:
        yield NAME
        clock.seconds = 2_000
        async with open_index(database, clock) as other:
            await other.add(RepositoryName("ghost/pushed"))

    await index.add(RepositoryName("ghost/pushed"))
    await index.add(RepositoryName("ghost/left"))
    await index.replace_all(push_elsewhere())
    assert await all_names(index) == ["ghost/pushed", NAME]


async def test_name_removed_by_another_replica_during_the_rebuild_stays_out(index, database):
    async def remove_elsewhere() -> AsyncIterator[RepositoryName]:
        yield NAME
        async with open_index(database) as other:
            await other.remove(NAME)

    await index.add(NAME)
    await index.replace_all(remove_elsewhere())
    assert await all_names(index) == []


async def test_foreign_rows_are_neither_shown_nor_an_obstacle(database):
    """Where case does not count, `FOO/bar` and `foo/bar` are one key."""
    database.sql(SEED_TABLE)
    foreign = ["FOO/bar", "caf\u00e9", "with space", "zz..zz", "_", "zz_"]
    for name in foreign:
        database.sql("INSERT INTO repositories VALUES (%s, 1)", name)
    async with open_index(database) as index:
        assert await all_names(index, limit=1) == []
        await index.add(RepositoryName("foo/bar"))
        await index.add(RepositoryName("zz"))
        assert await all_names(index, limit=1) == ["foo/bar", "zz"]
        await index.replace_all(stream(["cafe"]))
        assert await all_names(index) == ["cafe"]
    assert list(rows(database)) == ["cafe"]


async def test_rebuild_replaces_a_foreign_row_of_the_same_key(database):
    database.sql(SEED_TABLE)
    database.sql("INSERT INTO repositories VALUES ('FOO/bar', 1)")
    async with open_index(database) as index:
        await index.replace_all(stream(["foo/bar"]))
        assert await all_names(index) == ["foo/bar"]


@pytest.mark.parametrize("table", [None, SEED_TABLE], ids=["ours", "seed"])
async def test_rebuild_in_small_pieces_is_the_same(database, table, monkeypatch):
    """Rows are read and written in pieces, foreign ones among them."""
    monkeypatch.setattr(rebuild, "_READ_ROWS", 3)
    monkeypatch.setattr(rebuild, "_WRITE_ROWS", 2)
    database.sql(table or create_statement())
    async with open_index(database) as index:
        for name in ("a", "a_b", "ab", "b", "Foreign", "foreign/2", "z_z", "zz"):
            database.sql("INSERT INTO repositories VALUES (%s, 1)", name)
        await index.replace_all(stream(["new/1", "a_b", "new/2", "zz", "new_3", "foreign"]))
        assert await all_names(index) == ["a_b", "foreign", "new/1", "new/2", "new_3", "zz"]
    assert rows(database)["zz"] == 1


@pytest.mark.parametrize("table", [None, SEED_TABLE], ids=["ours", "seed"])
async def test_page_reads_as_many_rows_of_a_large_table_as_of_a_small(database, table):
    if table:
        database.sql(table)
    names = [f"team-{n % 37}/{'app_' if n % 2 else 'appx'}{n}" for n in range(20_000)]
    in_order = sorted(names)
    async with open_index(database) as index:
        await index.replace_all(stream(names))
        for position in (0, 4_000, 9_999, 17_000):
            before = read_rows(database)
            page = await index.page(after=in_order[position], limit=100)
            assert list(page.items) == in_order[position + 1 : position + 101]
            assert read_rows(database) - before < 1_500


def read_rows(database: Database) -> int:
    """How many rows all sessions have read from keys so far."""
    status: dict[str, str] = dict(database.sql("SHOW GLOBAL STATUS LIKE 'Handler_read%%'"))
    return sum(int(status[f"Handler_read_{kind}"]) for kind in ("next", "prev", "rnd_next", "key"))


async def test_connections_are_opened_once_and_bounded(database):
    database.sql(create_statement())
    async with open_index(database, connections_max=3) as index:
        await index.check()
        before = opened(database)
        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(index.add(RepositoryName(f"a{number}")))
        for _ in range(20):
            await index.page(after="", limit=10)
        # Each query of the status opens one too.
        assert opened(database) - before <= 3
    assert await asyncio.to_thread(open_connections, database) == 0


def opened(database: Database) -> int:
    return int(database.sql("SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])


def open_connections(database: Database) -> int:
    """How many connections the registry's user has, once the server noticed that they were closed."""
    count = 1
    for _ in range(50):
        [(count,)] = database.sql("SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s", database.user)
        if count == 0:
            break
    return count


async def test_cancelled_statement_leaves_no_answer_behind(database):
    """Its connection holds half an answer; the next caller must not get that one."""
    async with open_index(database, connections_max=1) as index:
        await index.replace_all(stream(["a", "b"]))
        for _ in range(10):
            task = asyncio.create_task(index.page(after="", limit=2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert list((await index.page(after="a", limit=2)).items) == ["b"]


async def test_four_replicas_start_at_once(database):
    async def start(number: int) -> None:
        async with open_index(database) as index:
            await index.replace_all(stream([*(f"app/{n}" for n in range(500)), f"pushed/{number}"]))
            await index.add(RepositoryName(f"pushed/{number}"))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(start(number))
    async with open_index(database) as index:
        found = await all_names(index)
    assert set(found) >= {f"app/{n}" for n in range(500)}
    assert len(found) <= 504
    assert database.sql("SHOW TABLES") == [("repositories",)]


class TestRights:
    async def test_user_without_create_uses_an_existing_table(self, mariadb: MariaDbServer, database: Database):
        database.sql(SEED_TABLE)
        user = mariadb.create_user(database, f"{database.name}_w", "SELECT, INSERT, UPDATE, DELETE")
        async with open_index(user) as index:
            await index.add(NAME)
            await index.replace_all(stream([NAME, "a"]))
            await index.remove(NAME)
            assert await all_names(index) == ["a"]

    async def test_missing_table_that_may_not_be_created_is_reported_and_healed(self, mariadb, database):
        user = mariadb.create_user(database, f"{database.name}_w", "SELECT, INSERT, UPDATE, DELETE")
        async with open_index(user) as index:
            with pytest.raises(
                StorageUnavailableError, match="missing in MySQL and the user may not create it"
            ) as caught:
                await index.replace_all(never())
            assert "CREATE TABLE IF NOT EXISTS repositories (name VARCHAR(1024)" in str(caught.value)
            database.sql(SEED_TABLE)
            await index.add(NAME)
            assert await all_names(index) == [NAME]

    async def test_name_of_the_right_is_reported_where_no_table_can_be_created(self, mariadb, database):
        user = mariadb.create_user(database, f"{database.name}_n", "INSERT")
        async with open_index(user) as index:
            with pytest.raises(StorageUnavailableError, match="denies the user the right to SELECT"):
                await index.replace_all(never())

    @pytest.mark.parametrize("rights", ["", ", ALTER", ", DROP"])
    async def test_user_without_the_right_to_rename_creates_only_the_table(self, mariadb, database, rights):
        granted = f"SELECT, INSERT, UPDATE, DELETE, CREATE{rights}"
        user = mariadb.create_user(database, f"{database.name}_w", granted)
        async with open_index(user) as index:
            await index.replace_all(stream(["a", "b"]))
            assert await all_names(index) == ["a", "b"]
        assert database.sql("SHOW TABLES") == [("repositories",)]

    async def test_user_with_rights_on_the_table_alone_creates_it(self, mariadb, database):
        user = mariadb.create_user(database, f"{database.name}_t", "ALTER, DROP")
        database.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON repositories TO {user.user}@'%'")
        async with open_index(user) as index:
            await index.replace_all(stream(["a", "b"]))
            assert await all_names(index) == ["a", "b"]
        assert database.sql("SHOW TABLES") == [("repositories",)]

    async def test_error_of_a_read_only_user_names_the_right(self, mariadb, database):
        database.sql(SEED_TABLE)
        user = mariadb.create_user(database, f"{database.name}_r", "SELECT")
        async with open_index(user) as index:
            assert await all_names(index) == []
            with pytest.raises(StorageUnavailableError, match="denies the user the right to INSERT, UPDATE") as caught:
                await index.add(NAME)
        assert user.user not in str(caught.value)


async def test_table_without_the_column_is_reported(database):
    database.sql("CREATE TABLE repositories (id INT PRIMARY KEY)")
    async with open_index(database) as index:
        with pytest.raises(StorageUnavailableError, match="has no column `name`"):
            await index.page(after="", limit=1)


async def test_unindexed_collation_is_warned_about(database, caplog):
    database.sql(SEED_TABLE.replace("utf8_general_ci", "utf8_unicode_ci"))
    async with open_index(database) as index:
        await index.check()
        assert "every page sorts the whole table" in caplog.text


async def test_unknown_parameter_is_warned_about_at_start(database, caplog):
    address = parse_go_dsn(f"{database.dsn}?time_out=5s")
    async with MySqlCatalogIndex(address, now=Clock()):
        assert "did you mean timeout?" in caplog.text


@pytest.mark.parametrize(
    ("granted", "missing"), [("SELECT, UPDATE", "INSERT"), ("SELECT, INSERT", "UPDATE"), ("SELECT", "INSERT")]
)
async def test_error_names_the_right_that_the_user_lacks(database, mariadb, granted, missing):
    database.sql(SEED_TABLE)
    user = mariadb.create_user(database, f"{database.name}_r", granted)
    async with MySqlCatalogIndex(parse_go_dsn(user.dsn), now=lambda: datetime.now(UTC)) as index:
        with pytest.raises(StorageUnavailableError, match=f"denies the user the right to [A-Z, ]*{missing}") as caught:
            await index.add(RepositoryName("a"))
        assert user.user not in str(caught.value)
        with pytest.raises(StorageUnavailableError, match="grant DELETE on the database"):
            await index.remove(RepositoryName("a"))
