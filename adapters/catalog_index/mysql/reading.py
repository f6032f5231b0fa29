"""Reads names from the table by code point, with a strategy that depends on the key's order."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from adapters.catalog_index.mysql.connections import Session
from adapters.catalog_index.mysql.paging import END, KeyRange, first_names
from adapters.catalog_index.mysql.schema import NameOrder
from core.model.names import RepositoryName

# Rows of other programs may hold any text; `paging` is correct for the characters of names only.
_LEGAL: Final = "CONVERT(name USING utf8mb4) COLLATE utf8mb4_bin REGEXP '^[-./0-9_a-z]+$'"
_BY_BYTES: Final = "CONVERT(name USING utf8mb4) COLLATE utf8mb4_bin"

Reader = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the first texts greater than a given one by code point, at most the given number, with invalid names."""


async def read_names(session: Session, order: NameOrder, *, after: str, count: int) -> list[RepositoryName]:
    """Return the first `count` names greater than `after`, a text of valid characters, by code point."""
    read = _READERS[order](session)
    found: list[RepositoryName] = []
    while len(found) < count:
        asked = count - len(found)
        texts = await read(after, asked)
        found += [name for name in map(RepositoryName.parse, texts) if name is not None]
        if len(texts) < asked:
            break
        after = texts[-1]
    return found


def _read_by_key(session: Session) -> Reader:
    async def read(after: str, count: int) -> Sequence[str]:
        [texts] = await _fetch(session, [KeyRange(after, END)], count)
        return texts

    return read


def _read_by_displaced_key(session: Session) -> Reader:
    async def fetch(ranges: Sequence[KeyRange], limit: int) -> list[list[str]]:
        return await _fetch(session, ranges, limit)

    return lambda after, count: first_names(fetch, after=after, count=count)


def _read_by_sorting(session: Session) -> Reader:
    async def read(after: str, count: int) -> Sequence[str]:
        rows = await session.rows(
            f"SELECT name FROM repositories WHERE {_LEGAL} AND {_BY_BYTES} > %s"  # noqa: S608 (constants only)
            f" ORDER BY {_BY_BYTES} LIMIT %s",
            (after, count),
        )
        return [row[0] for row in rows]

    return read


_READERS: Final[dict[NameOrder, Callable[[Session], Reader]]] = {
    NameOrder.BYTES: _read_by_key,
    NameOrder.UNDERSCORE_LAST: _read_by_displaced_key,
    NameOrder.UNKNOWN: _read_by_sorting,
}


async def _fetch(session: Session, ranges: Sequence[KeyRange], limit: int) -> list[list[str]]:
    """Read the first `limit` names of each range through the primary key, in one statement."""
    parts: list[str] = []
    values: list[Any] = []
    for number, each in enumerate(ranges):
        comparison = ">=" if each.has_low else ">"
        parts.append(
            "(SELECT %s AS part, name FROM repositories"  # noqa: S608 (constants only)
            f" WHERE name {comparison} %s AND name < %s AND {_LEGAL} ORDER BY name LIMIT %s)"
        )
        values += [number, each.low, each.high, limit]
    answer: list[list[str]] = [[] for _ in ranges]
    for part, name in await session.rows(" UNION ALL ".join(parts), values):
        answer[part].append(name)
    return answer
