from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest

from adapters.catalog_index.go_dsn import parse_go_dsn
from adapters.catalog_index.mysql import MySqlCatalogIndex
from tests.contracts.catalog_index_contract import stream
from tests.contracts.catalog_index_loss_contract import LosableCatalogIndexContract
from tests.support.mariadb import SEED_TABLE, Database, MariaDbServer

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

UNICODE_TABLE = SEED_TABLE.replace("utf8_general_ci", "utf8_unicode_ci")


def now() -> datetime:
    return datetime(2026, 11, 24, tzinfo=UTC)


class TestMySqlCatalogIndex(LosableCatalogIndexContract):
    TABLE: str | None = None

    @pytest.fixture
    async def index(self, database: Database, user: Database) -> AsyncIterator[MySqlCatalogIndex]:
        if self.TABLE is not None:
            database.sql(self.TABLE)
        async with MySqlCatalogIndex(parse_go_dsn(user.dsn), now=now) as index:
            await index.replace_all(stream([]))
            yield index

    @pytest.fixture
    async def second(self, user: Database) -> AsyncIterator[MySqlCatalogIndex]:
        async with MySqlCatalogIndex(parse_go_dsn(user.socket_dsn), now=now) as second:
            yield second

    @pytest.fixture
    def user(self, database: Database) -> Database:
        """The database as the registry's user accesses it."""
        return database

    @pytest.fixture(autouse=True)
    def leave_one_table_behind(self, database: Database) -> Iterator[None]:
        self.database = database
        yield
        assert database.sql("SHOW TABLES") in ([("repositories",)], [])

    def lose(self) -> None:
        self.database.sql("DROP TABLE repositories")


class TestMySqlCatalogIndexOnTheSeedsTable(TestMySqlCatalogIndex):
    TABLE = SEED_TABLE


class TestMySqlCatalogIndexOnAnotherCollation(TestMySqlCatalogIndex):
    TABLE = UNICODE_TABLE


class TestMySqlCatalogIndexWithoutTheRightToRename(TestMySqlCatalogIndex):
    APPEARS_AT_ONCE = False

    @pytest.fixture
    def user(self, mariadb: MariaDbServer, database: Database) -> Database:
        return mariadb.create_user(database, f"{database.name}_w", "SELECT, INSERT, UPDATE, DELETE, CREATE")
