"""Fetching of cold blobs: each one once for all clients of a machine, whatever ranges they ask for."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from core.errors import RangeInvalidError, StorageError, UpstreamError
from core.model.digest import Digest
from core.model.freshness import CacheOutcome, Freshness
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobReader
from core.ports.resource import Resource
from core.pull_through.fetch import Fetch
from core.pull_through.filling import FetchTools
from core.pull_through.origins import Origin
from core.typing import override

_logger = logging.getLogger(__name__)

KEEP_SECONDS: Final = 3600.0
"""How long the bytes of a failed fetch are kept for the next attempt."""
_ATTEMPTS: Final = 3
_MISS: Final = Freshness(outcome=CacheOutcome.MISS)


class FetchedReader(BlobReader):
    """Reads from a blob while it grows.

    The last piece is withheld until the whole blob is verified. If the fetch fails, the content ends before it.
    """

    def __init__(self, fetch: Fetch, size: int, *, offset: int, length: int | None) -> None:
        self.size = size
        self.offset = offset
        self.length = size - offset if length is None else min(length, size - offset)
        self.freshness = _MISS
        self._fetch = fetch

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces of bounded size.

        Raises:
            UpstreamError: the upstream failed, or its content does not match the digest.
            StorageUnavailableError: the spool failed.
        """
        position, end = self.offset, self.offset + self.length
        while position < end:
            available = self._fetch.available(end)
            if position < available:
                piece = await self._fetch.read(position, available - position)
                position += len(piece)
                yield piece
            else:
                await self._fetch.progress()


class Fetcher(Resource):
    """Fetches blobs from upstreams. One per process, opened as a context manager; belongs to one event loop.

    The fetch of a blob goes on if its clients leave. The bytes of failed fetches stay in the spool for a while.
    """

    def __init__(self, tools: FetchTools) -> None:
        self._tools = tools
        self._fetches: dict[Digest, Fetch] = {}
        self._tasks: dict[Fetch, asyncio.Task[None]] = {}

    @override
    async def start(self) -> None:
        """Open the spool, and remove what killed processes left long ago."""
        await self._tools.spool.start()
        await self._sweep()

    @override
    async def stop(self) -> None:
        """End all fetches, whose bytes stay in the spool, and close the spool."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        await self._tools.spool.stop()

    @property
    def in_flight(self) -> int:
        """Number of blobs that this process fetches or follows."""
        return len(self._tasks)

    @asynccontextmanager
    async def open(
        self,
        name: RepositoryName,
        origin: Origin,
        digest: Digest,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> AsyncGenerator[BlobReader, None]:
        """Open a blob, which is fetched unless a process of this machine fetches it already.

        Errors are raised on entering the block, or by the iteration.

        Args:
            name: the cached repository.
            origin: its origin.
            digest: the blob.
            offset: the first byte to read.
            length: the number of bytes, at most.

        Raises:
            ContentStoredError: the store has the blob by now.
            RangeInvalidError: `offset` is greater than the size.
            UpstreamError: the upstream failed.
            StorageUnavailableError: the spool failed, is full, or too many blobs are being fetched.
        """
        fetch, size = await self._join(name, origin, digest)
        try:
            await self._require_served(fetch, name, origin)
            if offset > size:
                raise RangeInvalidError(size)
            yield FetchedReader(fetch, size, offset=offset, length=length)
        finally:
            self._leave(fetch)

    async def _join(self, name: RepositoryName, origin: Origin, digest: Digest) -> tuple[Fetch, int]:
        attempts = 0
        while True:
            fetch = self._fetches.get(digest) or self._begin(name, origin, digest)
            fetch.readers += 1
            try:
                return fetch, await fetch.started(name)
            except UpstreamError:
                self._leave(fetch)
                attempts += 1
                # The failure of another repository's upstream does not concern this one.
                if fetch.failed_for == name or attempts == _ATTEMPTS:
                    raise
            except BaseException:
                self._leave(fetch)
                raise

    def _begin(self, name: RepositoryName, origin: Origin, digest: Digest) -> Fetch:
        fetch = self._fetches[digest] = Fetch(self._tools, name, origin, digest)
        self._tasks[fetch] = task = asyncio.create_task(self._run(fetch))
        task.add_done_callback(lambda _: self._tasks.pop(fetch))
        return fetch

    def _leave(self, fetch: Fetch) -> None:
        fetch.readers -= 1
        if fetch.readers:
            return
        if fetch.is_over:
            fetch.close()
        elif not fetch.is_leading:
            self._forget(fetch)
            self._tasks[fetch].cancel()

    async def _run(self, fetch: Fetch) -> None:
        try:
            await fetch.run()
        finally:
            self._forget(fetch)
            fetch.is_over = True
            fetch.wake()
            if not fetch.readers:
                fetch.close()
        if fetch.has_led:
            await self._sweep()

    def _forget(self, fetch: Fetch) -> None:
        # A later fetch of the same blob may have begun.
        if self._fetches.get(fetch.digest) is fetch:
            del self._fetches[fetch.digest]

    async def _require_served(self, fetch: Fetch, name: RepositoryName, origin: Origin) -> None:
        async with fetch.proving:
            if await fetch.is_served_to(name):
                return
            async with origin.upstream.open_blob(origin.name, fetch.digest, length=1):
                pass
            await fetch.add(name)

    async def _sweep(self) -> None:
        try:
            await self._tools.spool.sweep(unchanged_seconds=KEEP_SECONDS)
        except StorageError as error:
            _logger.warning("cannot clear the spool of the pull-through cache: %s", error)
