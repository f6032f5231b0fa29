"""Creation of the missing table together with all of its rows, so that no reader finds it empty or incomplete.

The rows are written to a table of another name, and a rename publishes it; the server does that at once, or not at all:

    repositories_new_<owner>_<attempt>      hexadecimal digits

Each attempt has its own name, so no process publishes the unfinished table of another one. A killed process leaves its
table. The next rebuild drops such tables: those of its own process, and those of others when they are old.

The rename needs ALTER and DROP. A user without these rights creates `repositories` itself and fills it in one
transaction: other processes can see the empty table for that time, and a crash of the server in that time leaves it.
"""

import re
from collections.abc import Iterable
from typing import Final
from uuid import uuid4

import pymysql.err

from adapters.catalog_index.mysql.connections import (
    RIGHTS_MISSING,
    TABLE_EXISTS,
    TABLE_MISSING,
    Session,
    error_code,
)
from adapters.catalog_index.mysql.rebuild import insert_rows
from adapters.catalog_index.mysql.schema import TABLE, create_table

_FILE_MISSING: Final = 1017
"""MySQL 5 answers with this instead of `TABLE_MISSING` to the rename of a table that does not exist."""
_UNPUBLISHED: Final = re.compile(r"repositories_new_([0-9a-f]{16})_[0-9a-f]{16}")
_OLD_SECONDS: Final = 3600
"""After this time the table of another process is a leftover; writing 100,000 rows takes about a second."""
_FIND_UNPUBLISHED: Final = (
    "SELECT table_name, COALESCE(create_time <= NOW() - INTERVAL %s SECOND, 0) FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND LEFT(table_name, 17) = 'repositories_new_'"
)


def new_owner() -> str:
    """Return a new name for a process, for the names of its tables."""
    return uuid4().hex[:16]


async def create_filled(session: Session, names: Iterable[str], *, owner: str, now: int) -> bool:
    """Create the table with exactly these names; return False if it exists, created by another process.

    An owner creates one table at a time.

    Args:
        session: the connection to use.
        names: all names, in ascending order.
        owner: the process, from `new_owner`.
        now: createTime of the rows, in unix seconds.
    """
    try:
        return await _publish(session, names, owner=owner, now=now)
    except pymysql.err.MySQLError as error:
        if error_code(error) not in RIGHTS_MISSING:
            raise
    await create_table(session)
    async with session.transaction():
        await insert_rows(session, TABLE, names, now=now)
    return True


async def _publish(session: Session, names: Iterable[str], *, owner: str, now: int) -> bool:
    unpublished = f"repositories_new_{owner}_{uuid4().hex[:16]}"
    # The server checks the rights before it finds that there is no such table: nothing is created without the rights.
    await _rename(session, unpublished)
    await drop_leftovers(session, owner=owner)
    await create_table(session, table=unpublished)
    async with session.transaction():
        await insert_rows(session, unpublished, names, now=now)
    is_published = await _rename(session, unpublished)
    if not is_published:
        await _drop(session, unpublished)
    return is_published


async def _rename(session: Session, unpublished: str) -> bool:
    """Publish a table; return False if it does not exist, or the published one does."""
    try:
        await session.run(f"RENAME TABLE {unpublished} TO repositories")
    except pymysql.err.MySQLError as error:
        if error_code(error) not in {TABLE_EXISTS, TABLE_MISSING, _FILE_MISSING}:
            raise
        return False
    return True


async def drop_leftovers(session: Session, *, owner: str) -> None:
    """Drop the tables that were not published by this process, which is not creating one, or by others long ago."""
    for table, is_old in await session.rows(_FIND_UNPUBLISHED, (_OLD_SECONDS,)):
        found = _UNPUBLISHED.fullmatch(table)
        if found and (is_old or found[1] == owner):
            await _drop(session, table)


async def _drop(session: Session, table: str) -> None:
    try:
        await session.run(f"DROP TABLE IF EXISTS {table}")
    except pymysql.err.MySQLError as error:
        # The user who created it had the right; this one needs it for nothing else.
        if error_code(error) not in RIGHTS_MISSING:
            raise
