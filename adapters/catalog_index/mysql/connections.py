"""Connections to the server: bounded, reused, replaced when dead, and retried rarely while the server is down.

This is the one place that translates MySQL's errors to the port's. The server's error messages are not passed on,
because they contain user names, values and hosts.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import aiomysql
import pymysql.err

from adapters.catalog_index.go_dsn import MySqlAddress, TlsMode
from core.errors import CatalogUnavailableError

T = TypeVar("T")

_FAILURES: Final = (pymysql.err.MySQLError, OSError)
_STALE: Final = frozenset({0, 1053, 1927, 2006, 2013, 2055, 4031})
"""Errors of a dead connection: shut down, killed, gone away, lost, or timed out when idle."""
_CONFLICT: Final = frozenset({1020, 1205, 1213})
"""Errors of a conflict with another transaction: changed row, lock wait timeout, deadlock."""
_RETRY_DELAYS: Final = (0.0, 0.05, 0.2, 0.5)
_CLOSE_SECONDS: Final = 1.0
"""How long a server may take to close its side of a TLS connection, before the connection is aborted."""
TABLE_EXISTS: Final = 1050
TABLE_MISSING: Final = 1146
RIGHTS_MISSING: Final = frozenset({1044, 1142, 1143, 1227})
_TEXTS: Final = {
    1040: "has too many connections",
    1045: "denies access: check the user and the password",
    1049: "does not have the database",
    TABLE_MISSING: "does not have the table `repositories`",
    **dict.fromkeys(RIGHTS_MISSING, "denies a right that the user needs on the database"),
    1290: "is read-only",
    1836: "is read-only",
    2003: "does not accept connections",
}


_DENIED: Final = re.compile(r"([A-Z]+(?:, ?[A-Z]+)*) command denied ")
_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE")


def error_code(error: BaseException) -> int:
    """Return MySQL's number of an error, or -1."""
    code = error.args[0] if isinstance(error, pymysql.err.MySQLError) and error.args else -1
    return code if isinstance(code, int) else -1


class Session:
    """A borrowed connection: statements have a time limit, and values are passed only as parameters."""

    def __init__(self, connection: Any, *, statement_seconds: float) -> None:
        self._connection = connection
        self._statement_seconds = statement_seconds

    async def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; meant for few rows, such as pages and batches."""
        async with asyncio.timeout(self._statement_seconds), self._connection.cursor() as cursor:
            await cursor.execute(statement, tuple(values))
            return list(await cursor.fetchall())

    async def run(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run one statement that returns no rows; return MySQL's number of affected rows."""
        async with asyncio.timeout(self._statement_seconds), self._connection.cursor() as cursor:
            return int(await cursor.execute(statement, tuple(values)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Run the block's statements in one transaction; if the block fails, closing the connection rolls back."""
        await self._connection.begin()
        yield
        await self._connection.commit()


class _Gate:
    """While the server is down, lets one caller at a time, at a limited rate, try to connect.

    All other callers fail at once: a push does not wait for the catalog's connection timeout.
    """

    def __init__(self, retry_seconds: float) -> None:
        self._retry_seconds = retry_seconds
        self._failure: str | None = None
        self._next_attempt = 0.0
        self._is_probing = False

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        if self._failure is not None:
            if self._is_probing or asyncio.get_running_loop().time() < self._next_attempt:
                raise CatalogUnavailableError(self._failure)
            self._is_probing = True
        try:
            yield
        except CatalogUnavailableError as error:
            self._failure = str(error)
            self._next_attempt = asyncio.get_running_loop().time() + self._retry_seconds
            raise
        else:
            self._failure = None
        finally:
            self._is_probing = False


class Connections:
    """A bounded set of connections; one per index, belongs to one event loop.

    This replaces aiomysql's own pool, which connects while it holds the lock that releasing needs, so that one
    unreachable address blocks all callers, and which lends connections without noticing a restart of the server.
    """

    def __init__(self, address: MySqlAddress, *, size: int, retry_seconds: float) -> None:
        self._address = address
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Any] = []
        self._is_closed = False
        self._gate = _Gate(retry_seconds)
        self._tls = _tls_context(address.tls)

    async def work(self, do: Callable[[Session], Awaitable[T]]) -> T:
        """Run `do` on a connection; repeat if the connection is dead or another transaction conflicts.

        So `do` must be safe to repeat. A connection on which anything failed is never used again.

        Raises:
            CatalogUnavailableError: the server is down or refuses; the message contains host and port but no secret.
        """
        for delay in _RETRY_DELAYS:
            try:
                async with self._session() as session:
                    return await do(session)
            except _FAILURES as error:
                if error_code(error) not in _STALE | _CONFLICT:
                    raise self._translate(error) from None
            # The idle connections lead to the same server and are probably dead too.
            self._drop_idle()
            await asyncio.sleep(delay)
        raise CatalogUnavailableError(f"MySQL at {self._address.place} drops every connection")

    async def aclose(self) -> None:
        """Close the idle connections and wait until they are closed; a borrowed one is closed when it is returned."""
        self._is_closed = True
        while self._idle:
            await _leave(self._idle.pop())

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        async with self._slots:
            connection = self._idle.pop() if self._idle else await self._connect()
            writer = _writer(connection)
            is_sound = False
            try:
                yield Session(connection, statement_seconds=self._address.statement_seconds)
                is_sound = True
            finally:
                # This includes a cancellation: part of an answer may be waiting in the socket.
                if not is_sound:
                    _cut_off(connection, writer)
                elif self._is_closed:
                    await _leave(connection)
                else:
                    self._idle.append(connection)

    async def _connect(self) -> Any:
        async with self._gate.attempt():
            try:
                async with asyncio.timeout(self._address.connect_seconds):
                    return await self._open()
            except _FAILURES as error:
                raise self._translate(error) from None

    async def _open(self) -> Any:
        address = self._address
        connection = await aiomysql.connect(
            host=address.host,
            port=address.port,
            unix_socket=address.socket,
            user=address.user,
            # aiomysql encodes the password in Latin-1; the server, like Go's driver, expects UTF-8.
            password=address.password.reveal().encode().decode("latin-1"),
            db=address.database,
            charset="utf8mb4",
            autocommit=True,
            ssl=self._tls,
            # Notes ("table exists") would become Python warnings.
            init_command="SET sql_notes = 0",
        )
        writer = _writer(connection)
        try:
            await self._require_tls(connection)
        except BaseException:
            _cut_off(connection, writer)
            raise
        return connection

    async def _require_tls(self, connection: Any) -> None:
        if self._address.tls not in {TlsMode.REQUIRED, TlsMode.UNVERIFIED}:
            return
        # aiomysql silently continues in plain text if the server does not offer TLS.
        session = Session(connection, statement_seconds=self._address.statement_seconds)
        rows = await session.rows("SHOW SESSION STATUS LIKE 'Ssl_version'")
        if not rows or not rows[0][1]:
            raise CatalogUnavailableError(
                f"MySQL at {self._address.place} does not support TLS, which the DSN requires"
            )

    def _drop_idle(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            _cut_off(connection, _writer(connection))

    def _translate(self, error: BaseException) -> CatalogUnavailableError:
        code = error_code(error)
        if isinstance(error, TimeoutError):
            text = "does not answer in time"
        elif code in RIGHTS_MISSING and (rights := _rights_denied(error)):
            text = f"denies the user the right to {rights}: grant {rights} on the database to the registry's user"
        elif code in _TEXTS:
            text = _TEXTS[code]
        else:
            text = f"returned error {code}" if code >= 0 else f"cannot be used ({type(error).__name__})"
        return MySqlError(f"MySQL at {self._address.place} {text}", code=code)


def _rights_denied(error: BaseException) -> str:
    """Return the rights that MySQL's message names, "INSERT, UPDATE"; empty for messages that are not in English."""
    found = _DENIED.match(str(error.args[1])) if len(error.args) > 1 else None
    denied = found[1].replace(" ", "").split(",") if found else []
    return ", ".join(right for right in _RIGHTS if right in denied)


class MySqlError(CatalogUnavailableError):
    """The server failed or refused; carries MySQL's error number."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


async def _leave(connection: Any) -> None:
    """Close a connection cleanly and wait until it is closed, which with TLS requires an answer of the server."""
    writer = _writer(connection)
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.ensure_closed()
            await writer.wait_closed()
    except OSError:
        # The server has already closed the connection, or does not answer.
        _cut_off(connection, writer)


def _cut_off(connection: Any, writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, even if the server does not answer."""
    connection.close()
    writer.transport.abort()


def _writer(connection: Any) -> asyncio.StreamWriter:
    # aiomysql cannot wait until a connection is closed, and drops the writer of a connection that it closes itself.
    writer: asyncio.StreamWriter = connection._writer  # noqa: SLF001
    return writer


def _tls_context(mode: TlsMode) -> ssl.SSLContext | None:
    if mode is TlsMode.OFF:
        return None
    context = ssl.create_default_context()
    if mode is not TlsMode.REQUIRED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
