"""The connections over which small requests reach the store's own endpoint."""

import asyncio
from ssl import SSLContext
from typing import Final
from urllib.parse import urlsplit

from adapters.addresses import is_ip_address
from adapters.blob_storage.s3.answers import SmallAnswer, SmallRequest
from adapters.blob_storage.s3.connection import StaleConnectionError, StoreConnection

_HAPPY_EYEBALLS_SECONDS: Final = 0.25
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class SmallConnections:
    """Kept connections to one host; belongs to one event loop.

    Args:
        url: a URL of the host.
        context: how TLS is spoken; None for plain HTTP.
        limit: maximum number of open connections.
        connect_seconds: maximum time to open a connection.
        read_seconds: maximum time without data during a request.
    """

    def __init__(
        self, url: str, context: SSLContext | None, *, limit: int, connect_seconds: float, read_seconds: float
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        # A race of addresses that is cancelled may leave a socket to the garbage collector (CPython 3.11); one address
        # needs no race.
        self._race_delay = None if is_ip_address(self._host) else _HAPPY_EYEBALLS_SECONDS
        self._context = context
        self._limit = limit
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._idle: list[StoreConnection] = []
        self._opening = 0
        self._open: set[StoreConnection] = set()
        self._closed: asyncio.Event | None = None

    @property
    def is_full(self) -> bool:
        """Whether every allowed connection is in use."""
        return not self._idle and len(self._open) + self._opening >= self._limit

    async def exchange(self, request: SmallRequest) -> SmallAnswer:
        """Send a request, and return the answer. Requires that `is_full` is False.

        Raises:
            TimeoutError: the answer takes too long.
            OSError: the store cannot be reached, or the connection broke.
        """
        if self._idle:
            try:
                # The last one used is the least likely to be closed by the store.
                return await self._idle.pop().exchange(request)
            except StaleConnectionError:
                # The store may have got the request before it closed the connection.
                if not request.repeats:
                    raise
        return await (await self._connect()).exchange(request)

    async def _connect(self) -> StoreConnection:
        self._opening += 1
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    self._new_connection,
                    self._host,
                    self._port,
                    ssl=self._context,
                    happy_eyeballs_delay=self._race_delay,
                )
        finally:
            self._opening -= 1
        if self._closed is not None:
            connection.abort()
        if not connection.is_lost:
            self._open.add(connection)
        return connection

    def _new_connection(self) -> StoreConnection:
        return StoreConnection(self._read_seconds, on_free=self._idle.append, on_lost=self._forget)

    def _forget(self, connection: StoreConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._closed is not None and not self._open:
            self._closed.set()

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        self._closed = asyncio.Event()
        for connection in list(self._open):
            connection.abort()
        if self._open:
            await self._closed.wait()
