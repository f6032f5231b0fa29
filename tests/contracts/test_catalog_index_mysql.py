from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from adapters.catalog_index.go_dsn import parse_go_dsn
from adapters.catalog_index.mysql import MySqlCatalogIndex
from tests.contracts.catalog_index_contract import SharedCatalogIndexContract
from tests.support.mariadb import SEED_TABLE, Database

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

UNICODE_TABLE = SEED_TABLE.replace("utf8_general_ci", "utf8_unicode_ci")


def now() -> datetime:
    return datetime(2026, 11, 24, tzinfo=UTC)


class TestMySqlCatalogIndex(SharedCatalogIndexContract):
    TABLE: str | None = None

    @pytest.fixture
    async def index(self, database: Database) -> AsyncIterator[MySqlCatalogIndex]:
        if self.TABLE is not None:
            database.sql(self.TABLE)
        async with MySqlCatalogIndex(parse_go_dsn(database.dsn), now=now) as index:
            yield index

    @pytest.fixture
    async def second(self, database: Database) -> AsyncIterator[MySqlCatalogIndex]:
        async with MySqlCatalogIndex(parse_go_dsn(database.socket_dsn), now=now) as second:
            yield second


class TestMySqlCatalogIndexOnTheSeedsTable(TestMySqlCatalogIndex):
    TABLE = SEED_TABLE


class TestMySqlCatalogIndexOnAnotherCollation(TestMySqlCatalogIndex):
    TABLE = UNICODE_TABLE
