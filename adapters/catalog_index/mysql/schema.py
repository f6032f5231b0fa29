"""The table `repositories`: its columns, its creation, and the sort order of an existing one.

    name        VARCHAR(1024)  NOT NULL PRIMARY KEY
    createTime  BIGINT         NOT NULL DEFAULT 0      unix seconds of the last push

The old registry created the table in `utf8_general_ci`. This registry creates it in `ascii_bin`, which can store every
name, compares byte by byte, and stays within the key limits of all row formats but the oldest.
"""

from enum import Enum
from typing import Final

import pymysql.err

from adapters.catalog_index.mysql.connections import RIGHTS_MISSING, TABLE_EXISTS, Session, error_code
from core.errors import CatalogUnavailableError

TABLE: Final = "repositories"
_COLUMN_TWICE: Final = 1060
_KEY_TOO_LONG: Final = frozenset({1071, 1709})
_WIDTH: Final = 1024
_NARROW_WIDTH: Final = 255
"""For MySQL 5.5 and 5.6, which limit keys to 767 bytes; no name is longer."""
_FIND_COLLATION: Final = (
    "SELECT COALESCE(collation_name, 'binary') FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = 'repositories' AND column_name = 'name'"
)
_GENERAL: Final = frozenset(
    {
        "ascii_general_ci",
        "latin1_swedish_ci",
        "utf8_general_ci",
        "utf8mb3_general_ci",
        "utf8mb4_general_ci",
    }
)


class NameOrder(Enum):
    """The order in which the primary key sorts the characters of names."""

    BYTES = "bytes"
    """By code point, as the port requires."""
    UNDERSCORE_LAST = "underscore last"
    """As if in capitals: letters before `_`, all other characters by code point."""
    UNKNOWN = "unknown"
    """Any other order (Unicode collations); each page then sorts the whole table."""


async def find_order(session: Session) -> NameOrder:
    """Return the sort order of the table.

    Raises:
        MySQLError: the table is missing, or the user may not read it.
        CatalogUnavailableError: the table is not one of names.
    """
    collation = await _find_collation(session)
    if collation is None:
        await session.rows("SELECT 1 FROM repositories LIMIT 1")
        # Another process may have created the table just now.
        collation = await _find_collation(session)
    if collation is None:
        raise CatalogUnavailableError("the table `repositories` has no column `name`, or the user may not read it")
    return order_of(collation)


def order_of(collation: str) -> NameOrder:
    """Return the order in which a collation sorts names."""
    if collation == "binary" or collation.endswith("_bin"):
        return NameOrder.BYTES
    return NameOrder.UNDERSCORE_LAST if collation in _GENERAL else NameOrder.UNKNOWN


def create_statement(width: int = _WIDTH, *, table: str = TABLE) -> str:
    """Return the statement that creates the table, or one of the same columns."""
    return (
        f"CREATE TABLE IF NOT EXISTS {table}"
        f" (name VARCHAR({width:d}) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,"
        " createTime BIGINT(20) NOT NULL DEFAULT 0, PRIMARY KEY (name)) ENGINE=InnoDB"
    )


async def create_table(session: Session, *, table: str = TABLE) -> None:
    """Create the table, or one of the same columns, unless it exists."""
    try:
        await session.run(create_statement(table=table))
    except pymysql.err.MySQLError as error:
        if error_code(error) not in _KEY_TOO_LONG:
            raise
        await session.run(create_statement(_NARROW_WIDTH, table=table))


async def exercise_create(session: Session) -> None:
    """Use the right to create the table without an effect; raises MySQL's error if the user does not have it."""
    try:
        # The server checks the right before it finds that two columns have one name.
        await session.run("CREATE TABLE repositories (name INT PRIMARY KEY, name INT)")
    except pymysql.err.MySQLError as error:
        if error_code(error) not in {TABLE_EXISTS, _COLUMN_TWICE}:
            raise


async def require_creatable(session: Session) -> None:
    """Check, without an effect, that the user may create the table.

    Raises:
        CatalogUnavailableError: the user may not; the message contains the statement for another user.
    """
    try:
        await exercise_create(session)
    except pymysql.err.MySQLError as error:
        if error_code(error) not in RIGHTS_MISSING:
            raise
        raise CatalogUnavailableError(
            "the table `repositories` is missing in MySQL and the user may not create it;"
            f" grant CREATE, or run as another user: {create_statement()}"
        ) from None


async def _find_collation(session: Session) -> str | None:
    rows = await session.rows(_FIND_COLLATION)
    return str(rows[0][0]) if rows else None
