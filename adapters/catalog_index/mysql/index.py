"""The MySQL adapter: the port's methods in SQL."""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import cache
from typing import Final, TypeVar

from typing_extensions import override

from adapters.catalog_index.bounds import legal_bound
from adapters.catalog_index.go_dsn import MySqlAddress
from adapters.catalog_index.journal import ChangeJournal
from adapters.catalog_index.mysql.connections import TABLE_MISSING, Connections, MySqlError, Session
from adapters.catalog_index.mysql.creation import create_filled, drop_leftovers, new_owner
from adapters.catalog_index.mysql.diagnosis import diagnose_rights
from adapters.catalog_index.mysql.reading import read_names
from adapters.catalog_index.mysql.rebuild import read_rows, write_difference
from adapters.catalog_index.mysql.schema import NameOrder, find_order, require_creatable
from core.diagnosis import Diagnosable, Diagnosis, Verdict
from core.errors import CatalogLostError, CatalogUnavailableError
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.catalog_index import CatalogIndex

_LOGGER: Final = logging.getLogger(__name__)

T = TypeVar("T")


class MySqlCatalogIndex(CatalogIndex, Diagnosable):
    """The table `repositories`; one per process, opened as a context, shared by any number of replicas.

    The first call makes the first connection, so a server that is down does not prevent the start. The index recovers
    by itself when the server is back. Only `replace_all` creates a missing table, complete. A page costs one statement
    on this registry's own table and about two on the old registry's, for any number of rows; a change costs one; a
    rebuild reads all rows and writes the difference.

    Args:
        address: address and credentials of the server.
        now: returns the current time, UTC-aware; used for `createTime`.
        connections_max: maximum number of open connections.
        retry_seconds: the interval between connection attempts while the server is down; other calls fail at once.
    """

    name = "mysql"

    def __init__(
        self,
        address: MySqlAddress,
        *,
        now: Callable[[], datetime],
        connections_max: int = 8,
        retry_seconds: float = 1.0,
    ) -> None:
        self._address = address
        self._now = now
        self._connections = Connections(address, size=connections_max, retry_seconds=retry_seconds)
        self._journal = ChangeJournal()
        self._order: NameOrder | None = None
        # Asked for with its first use: a server builds the index before the fork.
        self._owner = cache(new_owner)
        self._creating = asyncio.Lock()

    @override
    async def start(self) -> None:
        for warning in self._address.warnings:
            _LOGGER.warning(warning)

    @override
    async def stop(self) -> None:
        await self._connections.aclose()

    @override
    async def add(self, name: RepositoryName) -> bool:
        self._journal.note(name, present=True)
        now = self._unix_seconds()
        attempts = 0

        async def write(session: Session, _: NameOrder) -> bool:
            nonlocal attempts
            attempts += 1
            # Update the name too: in a case-insensitive table, the row may be another program's `Foo`.
            affected = await session.run(
                "INSERT INTO repositories (name, createTime) VALUES (%s, %s)"
                " ON DUPLICATE KEY UPDATE name = %s, createTime = %s",
                (name, now, name, now),
            )
            # MySQL counts 1 for an inserted row, 2 or 0 for one that was there. An earlier attempt whose connection
            # broke may have inserted it.
            return affected == 1 or attempts > 1

        return await self._work(write)

    @override
    async def remove(self, name: RepositoryName) -> None:
        self._journal.note(name, present=False)

        async def write(session: Session, _: NameOrder) -> None:
            await session.run("DELETE FROM repositories WHERE name = %s", (name,))

        await self._work(write)

    @override
    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        if limit == 0:
            return Page(items=())

        async def read(session: Session, order: NameOrder) -> list[RepositoryName]:
            return await read_names(session, order, after=legal_bound(after), count=limit + 1)

        names = await self._work(read)
        return Page(items=names[:limit], has_more=len(names) > limit)

    @override
    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        with self._journal.recording() as changes:
            before = await self._rows_or_none()
            if before is not None:
                await self._drop_leftovers()
            wanted = {str(name) async for name in names}
            if before is None:
                if await self._create({name for name in wanted if changes.get(name, True)}):
                    return
                # Its rows are from another scan of storage, which is as new as this one.
                before = {}

            async def write(session: Session, _: NameOrder) -> None:
                added = {name for name, is_present in changes.items() if is_present}
                await write_difference(
                    session,
                    before=before,
                    wanted=wanted - (changes.keys() - added),
                    keep=added,
                    now=self._unix_seconds(),
                )

            await self._work(write)

    async def _rows_or_none(self) -> dict[str, int] | None:
        """Return the rows; None if the table is missing and may be created."""
        try:
            return await self._work(lambda session, _: read_rows(session))
        except CatalogLostError:
            # Otherwise every attempt would scan storage in vain.
            await self._connections.work(require_creatable)
            return None

    async def _drop_leftovers(self) -> None:
        async with self._creating:
            await self._connections.work(lambda session: drop_leftovers(session, owner=self._owner()))

    async def _create(self, names: AbstractSet[str]) -> bool:
        ordered, now = sorted(names), self._unix_seconds()
        async with self._creating:
            return await self._connections.work(
                lambda session: create_filled(session, ordered, owner=self._owner(), now=now)
            )

    @property
    @override
    def is_derived(self) -> bool:
        return False

    @override
    async def check(self) -> None:
        await self._work(lambda session, _: session.rows("SELECT name FROM repositories LIMIT 1"))

    @override
    async def diagnose(self) -> Sequence[Diagnosis]:
        try:
            return await self._connections.work(diagnose_rights)
        except CatalogUnavailableError as error:
            remedy = "check SEARCH_BACKEND_MYSQL, the server, and firewalls between them"
            return [Diagnosis(check="mysql: connection", verdict=Verdict.FAILURE, detail=str(error), remedy=remedy)]

    async def _work(self, do: Callable[[Session, NameOrder], Awaitable[T]]) -> T:
        async def prepared(session: Session) -> T:
            if self._order is None:
                self._order = await find_order(session)
                if self._order is NameOrder.UNKNOWN:
                    _LOGGER.warning(
                        "catalog index is slow: every page sorts the whole table, because of the collation of"
                        " `repositories`.`name`; use ascii_bin or utf8_general_ci",
                        extra={"index": self.name},
                    )
            return await do(session, self._order)

        try:
            return await self._connections.work(prepared)
        except MySqlError as error:
            if error.code == TABLE_MISSING:
                # Another program dropped the table, or there was none yet; the next one may be of another order.
                self._order = None
                raise CatalogLostError(str(error)) from None
            raise

    def _unix_seconds(self) -> int:
        return int(self._now().timestamp())
