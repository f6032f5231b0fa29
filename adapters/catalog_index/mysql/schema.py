"""The table `repositories`: created when missing, used as it is otherwise, and its sort order.

    name        VARCHAR(1024)  NOT NULL PRIMARY KEY
    createTime  BIGINT         NOT NULL DEFAULT 0      unix seconds of the last push

The old registry created the table in `utf8_general_ci`. This registry creates it in `ascii_bin`, which can store every
name, compares byte by byte, and stays within the key limits of all row formats but the oldest.
"""

from enum import Enum
from typing import Final

import pymysql.err

from adapters.catalog_index.mysql.connections import RIGHTS_MISSING, Session, error_code
from core.errors import CatalogUnavailableError

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


async def ensure_table(session: Session) -> NameOrder:
    """Create the table unless it exists; return its sort order. Safe for two processes at once.

    Raises:
        CatalogUnavailableError: the table is missing and the user may not create it; the message has the statement.
    """
    collation = await _find_collation(session)
    if collation is None:
        await _create(session)
        collation = await _find_collation(session)
    if collation is None:
        raise CatalogUnavailableError("the table `repositories` has no column `name`, or the user may not read it")
    return order_of(collation)


def order_of(collation: str) -> NameOrder:
    """Return the order in which a collation sorts names."""
    if collation == "binary" or collation.endswith("_bin"):
        return NameOrder.BYTES
    return NameOrder.UNDERSCORE_LAST if collation in _GENERAL else NameOrder.UNKNOWN


def create_statement(width: int) -> str:
    """Return the statement that creates the table."""
    return (
        "CREATE TABLE IF NOT EXISTS repositories"
        f" (name VARCHAR({width:d}) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,"
        " createTime BIGINT(20) NOT NULL DEFAULT 0, PRIMARY KEY (name)) ENGINE=InnoDB"
    )


async def _find_collation(session: Session) -> str | None:
    rows = await session.rows(_FIND_COLLATION)
    return str(rows[0][0]) if rows else None


async def _create(session: Session) -> None:
    try:
        await session.run(create_statement(_WIDTH))
    except pymysql.err.MySQLError as error:
        if error_code(error) in RIGHTS_MISSING:
            raise CatalogUnavailableError(
                "the table `repositories` is missing in MySQL and the user may not create it;"
                f" grant CREATE, or run as another user: {create_statement(_WIDTH)}"
            ) from None
        if error_code(error) not in _KEY_TOO_LONG:
            raise
        await session.run(create_statement(_NARROW_WIDTH))
