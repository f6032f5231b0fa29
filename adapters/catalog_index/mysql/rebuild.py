"""Exchanges the whole set of names in one short transaction.

Only the difference is written: rows that the new set lacks are deleted, names that the table lacks are
inserted, all others are not touched and keep their createTime. What changes meanwhile is told by the rows
themselves: a row is deleted only if its createTime is still the one from before the new names were
gathered, so a push by whatever replica, which sets createTime anew or adds a row, is never undone. Locks
are held on the difference alone, which after the first start is next to nothing, and in ascending order,
so that two rebuilds at once queue up rather than block each other; where they still do, the whole is done
again.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

from adapters.catalog_index.mysql.connections import Session

_READ_ROWS: Final = 10_000
_WRITE_ROWS: Final = 500


async def read_rows(session: Session) -> dict[str, int]:
    """Return every row, createTime by name, foreign ones included; in pieces, so that nothing is locked."""
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
    """Delete and insert, in one transaction, what makes the set `wanted`.

    Args:
        session: where to write.
        before: the rows as they were before `wanted` was gathered.
        wanted: all names of the new set.
        keep: names that are not to be deleted, although they are not wanted.
        now: createTime of inserted rows, in unix seconds.
    """
    gone = sorted(before.keys() - wanted - keep)
    fresh = sorted(wanted - before.keys())
    async with session.transaction():
        # First, because a foreign row (`FOO/bar`) may have the same key as a name, where case does not count.
        for names in _batches(gone):
            condition = " OR ".join(["(name = %s AND createTime = %s)"] * len(names))
            values = [value for name in names for value in (name, before[name])]
            await session.run(f"DELETE FROM repositories WHERE {condition}", values)  # noqa: S608 (placeholders only)
        for names in _batches(fresh):
            places = ", ".join(["(%s, %s)"] * len(names))
            values = [value for name in names for value in (name, now)]
            await session.run(
                f"INSERT INTO repositories (name, createTime) VALUES {places}"  # noqa: S608 (placeholders only)
                " ON DUPLICATE KEY UPDATE createTime = repositories.createTime",
                values,
            )


def _batches(names: Iterable[str]) -> Iterable[Sequence[str]]:
    iterator = iter(names)
    return iter(lambda: tuple(islice(iterator, _WRITE_ROWS)), ())
