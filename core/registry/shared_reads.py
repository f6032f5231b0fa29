"""Reads that callers share: an image that many clients pull at once costs the store a few requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from core.concurrency import retrieve_error
from core.ports.blob_storage import BlobReader
from core.typing import override

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SharedReads(Generic[K, T]):
    """Combines equal reads that callers ask for at the same time. Belongs to one event loop.

    No result is older than the call that gets it. While a read is running, later callers wait, and share one read that
    begins after it. So the results are as current as without sharing, and one key has at most one read at a time.

    A caller that finds no read running reads by itself, without a task. The others do not depend on it: its error and
    its cancellation are its own. The error of a shared read is raised by all callers that share it.

    Args:
        read: reads what belongs to a key.
    """

    def __init__(self, read: Callable[[K], Awaitable[T]]) -> None:
        self._read = read
        self._running: dict[K, asyncio.Future[None] | None] = {}
        """The running reads; the future ends with the read, and is there if a caller waits for it."""
        self._next: dict[K, asyncio.Task[T]] = {}
        """The reads that wait for the end of a running one, and accept callers."""
        self._shared: set[asyncio.Task[T]] = set()

    async def get(self, key: K) -> T:
        """Return the result of a read that begins after this call."""
        following = self._next.get(key)
        if following is None:
            if key not in self._running:
                return await self._run(key)
            ended = self._running[key] = asyncio.get_running_loop().create_future()
            following = self._next[key] = asyncio.create_task(self._follow(key, ended))
            # The loop itself holds tasks weakly, and every caller may leave.
            self._shared.add(following)
            following.add_done_callback(self._shared.discard)
            following.add_done_callback(retrieve_error)
        return await asyncio.shield(following)

    async def _follow(self, key: K, ended: asyncio.Future[None]) -> T:
        await ended
        del self._next[key]
        return await self._run(key)

    async def _run(self, key: K) -> T:
        self._running[key] = None
        try:
            return await self._read(key)
        finally:
            if (ended := self._running.pop(key)) is not None:
                ended.set_result(None)


class ContentReader(BlobReader):
    """Reader of content in memory."""

    def __init__(self, content: bytes) -> None:
        self.size = self.length = len(content)
        self._content = content

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._content:
            yield self._content

    @override
    async def read(self) -> bytes:
        return self._content
