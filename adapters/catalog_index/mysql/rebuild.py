"""Replacement of all names in one short transaction.

Only the difference is written: rows that are not in the new set are deleted, names that are not in the table are
inserted; all other rows are untouched and keep their createTime. Concurrent changes are detected by createTime: a row
is deleted only if its createTime is the same as before the new names were gathered. So a push by any replica, which
updates createTime or adds a row, is never undone. Only the difference is locked, which is small except at the first
start, and in ascending order, so that two concurrent rebuilds queue up instead of deadlocking; if they still conflict,
the transaction is repeated.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

from adapters.catalog_index.mysql.connections import Session
from adapters.catalog_index.mysql.schema import TABLE

_READ_ROWS: Final = 10_000
_WRITE_ROWS: Final = 500


async def read_rows(session: Session) -> dict[str, int]:
    """Return createTime by name for every row, including foreign ones; reads in batches, so nothing is locked."""
    found: dict[str, int] = {}
    after = ""
    while True:
        rows = await session.rows(
            "SELECT name, createTime FROM repositories WHERE name > %s ORDER BY name LIMIT %s",
            (after, _READ_ROWS),
        )
        found.update(rows)
        if len(rows) < _READ_ROWS:
            return found
        after = rows[-1][0]


async def write_difference(
    session: Session, *, before: Mapping[str, int], wanted: AbstractSet[str], keep: AbstractSet[str], now: int
) -> None:
    """Delete and insert rows in one transaction, so that the table holds `wanted`.

    Args:
        session: the connection to use.
        before: the rows as they were before `wanted` was gathered.
        wanted: all names of the new set.
        keep: names that must not be deleted, although they are not wanted.
        now: createTime of inserted rows, in unix seconds.
    """
    gone = sorted(before.keys() - wanted - keep)
    fresh = sorted(wanted - before.keys())
    async with session.transaction():
        # Delete first: in a case-insensitive table, a foreign row (`FOO/bar`) may have the same key as a name.
        for names in _batches(gone):
            condition = " OR ".join(["(name = %s AND createTime = %s)"] * len(names))
            values = [value for name in names for value in (name, before[name])]
            await session.run(f"DELETE FROM repositories WHERE {condition}", values)  # noqa: S608 (placeholders only)
        await insert_rows(session, TABLE, fresh, now=now)


async def insert_rows(session: Session, table: str, names: Iterable[str], *, now: int) -> None:
    """Insert a row with the createTime `now` for each name that the table lacks."""
    for batch in _batches(names):
        places = ", ".join(["(%s, %s)"] * len(batch))
        values = [value for name in batch for value in (name, now)]
        await session.run(
            f"INSERT INTO {table} (name, createTime) VALUES {places}"  # noqa: S608 (constants and placeholders only)
            f" ON DUPLICATE KEY UPDATE createTime = {table}.createTime",
            values,
        )


def _batches(names: Iterable[str]) -> Iterable[Sequence[str]]:
    iterator = iter(names)
    return iter(lambda: tuple(islice(iterator, _WRITE_ROWS)), ())
