"""Leases: election of one replica for a job, by an object in storage that the holder keeps rewriting.

Clocks of different processes are never compared: a contender measures with its own monotonic clock how long the object
has not changed. A lease avoids duplicate work; correctness must not depend on it. On a store without conditional writes
two processes may hold a lease at once, if one of them is suspended for longer than the time to live between reading the
object and removing it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from typing import Final

from core.errors import ObjectNotFoundError, StorageError
from core.ports.blob_storage import BlobStorage

_logger = logging.getLogger(__name__)

_CONTENT_BYTES_MAX: Final = 4096
_RENEWALS: Final = 3
"""Renewals per time to live; two of them may fail."""
_PATIENCE: Final = 1.1
"""Contenders wait this many times to live, because clocks run at different speeds."""
_SETTLE_FREE: Final = 1 / 6
"""Fraction of the time to live that a contender for a free lease waits, before it reads which contender wrote last."""
_SETTLE_TAKEOVER: Final = 1 / 2
"""The same after a takeover. The old holder may write once more, so this exceeds the interval between renewals."""
_NEVER: Final = float("-inf")


class Lease:
    """A lease, as seen by one holder or contender. One task at a time may use it, except for `keep` and `is_held`.

    Args:
        storage: the store that all replicas share.
        key: the lease object (`core.layout.lease`).
        owner_id: returns a text that is unique among all lease objects of all replicas; shown to operators. Called
            once, in the process that uses the lease: a server creates it before the fork.
        ttl: seconds without a renewal after which a holder has lost the lease.
        clock: monotonic seconds of this process.
        sleep: suspends for a number of seconds of that clock.
    """

    def __init__(
        self,
        storage: BlobStorage,
        key: str,
        *,
        owner_id: Callable[[], str],
        ttl: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._key = key
        self._owner_id = cache(owner_id)
        self._ttl = ttl
        self._clock = clock
        self._sleep = sleep
        self._counter = 0
        self._progress: Mapping[str, object] = {}
        self._renewed_at = _NEVER
        self._ours: tuple[bytes, ...] = ()
        self._seen: bytes | None = None
        self._seen_since = _NEVER

    @property
    def is_awaited(self) -> bool:
        """Whether another process held the lease at the last call of `try_acquire`."""
        return self._seen is not None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lease now; becomes false on its own before a contender can take over."""
        return self._clock() < self._renewed_at + self._ttl

    def note(self, progress: Mapping[str, object]) -> None:
        """Store the progress of the work in the lease object at the next renewal, for `read_job`; until the lease ends.

        Progress that is too large for the object is left out.
        """
        self._progress = progress

    async def try_acquire(self) -> bool:
        """Take the lease if it is free, or if its holder has not renewed it within the time to live.

        To take over from a dead holder, call this repeatedly: the lease must have been seen unchanged in earlier calls.
        Costs one request while another process holds the lease. Taking it costs two requests. A takeover, or a store
        that does not create exclusively, costs three requests and a wait of up to half the time to live.

        Raises:
            StorageError: the store failed; the lease is not held.
        """
        if self.is_held:
            return True
        looked_at = self._clock()
        content = await self._look()
        if content is None:
            self._seen = None
            return await (self._create() if self._storage.creates_exclusively else self._claim(looked_at, _SETTLE_FREE))
        if content != self._seen:
            self._seen, self._seen_since = content, self._clock()
            return False
        if looked_at - self._seen_since <= self._ttl * _PATIENCE:
            return False
        return await self._claim(looked_at, _SETTLE_TAKEOVER)

    async def acquire(self, patience: float) -> bool:
        """Call `try_acquire` for up to `patience` seconds, several times per time to live; return whether it succeeded.

        Raises:
            StorageError: as for `try_acquire`.
        """
        gives_up_at = self._clock() + patience
        while not await self.try_acquire():
            if self._clock() >= gives_up_at:
                return False
            await self._sleep(self._ttl / _RENEWALS)
        return True

    async def renew(self) -> bool:
        """Extend a held lease; return whether it is still held. Two requests.

        Raises:
            StorageError: the store failed; the lease keeps its remaining time and can be renewed again.
        """
        began_at = self._clock()
        if self.is_held and await self._look() not in self._ours:
            self._lose()
        # Check again: the response may have been slow, and a contender may have taken over since.
        if not self.is_held:
            return False
        content = self._next_content()
        self._ours = (self._ours[-1], content)
        await self._storage.write(self._key, content)
        self._renewed_at = began_at
        return self.is_held

    async def keep(self) -> None:
        """Renew the lease periodically until it is lost."""
        while self.is_held:
            await self._sleep(max(0.0, self._renewed_at + self._ttl / _RENEWALS - self._clock()))
            try:
                await self.renew()
            except StorageError as error:
                _logger.warning("lease renewal failed: %s", error, extra={"key": self._key})
                await self._sleep(self._ttl / _RENEWALS / 2)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Renew a held lease during the block, and release it at the end.

        Work of many steps checks `is_held` between them and stops when the lease is lost.
        """
        keeper = asyncio.create_task(self.keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await self.release()

    async def release(self) -> None:
        """Release the lease so that contenders need not wait. Never raises: if the store fails, the lease expires."""
        if self._clock() < self._renewed_at + self._ttl * _SETTLE_TAKEOVER:
            try:
                if await self._look() in self._ours:
                    await self._storage.delete([self._key])
            except StorageError as error:
                _logger.info("lease not released, it will expire: %s", error, extra={"key": self._key})
        self._lose()

    async def owner(self) -> str | None:
        """Return the id of the current or last holder; None if there is no lease object. One request.

        Raises:
            StorageError: the store failed.
        """
        content = await self._look()
        if content is None:
            return None
        try:
            return str(json.loads(content)["owner"])
        except (ValueError, KeyError, TypeError):
            return "unknown"

    async def written_at(self) -> datetime:
        """Return the store's time of the last renewal; directly after acquiring, this is the current time. One request.

        Raises:
            StorageError: the store failed, or there is no lease object.
        """
        return (await self._storage.stat(self._key)).modified_at

    async def _create(self) -> bool:
        began_at = self._clock()
        content = self._next_content()
        # The store may have accepted the content although it reported a failure.
        if await self._storage.create(self._key, content) or await self._look() == content:
            self._hold(content, began_at)
        return self.is_held

    async def _claim(self, looked_at: float, settle: float) -> bool:
        """Write the lease object read at `looked_at`; then wait and check whether another contender wrote too."""
        began_at = self._clock()
        content = self._next_content()
        await self._storage.write(self._key, content)
        if self._clock() - looked_at > self._ttl * settle / 2:
            # Too late: another contender may have written, waited and read before this write arrived.
            return False
        await self._sleep(self._ttl * settle)
        if await self._look() == content:
            self._hold(content, began_at)
        return self.is_held

    async def _look(self) -> bytes | None:
        try:
            return await self._storage.read(self._key, limit=_CONTENT_BYTES_MAX)
        except ObjectNotFoundError:
            return None

    def _next_content(self) -> bytes:
        self._counter += 1
        document: dict[str, object] = {"owner": self._owner_id(), "counter": self._counter}
        content = json.dumps(document | ({"progress": dict(self._progress)} if self._progress else {})).encode()
        return content if len(content) <= _CONTENT_BYTES_MAX else json.dumps(document).encode()

    def _hold(self, content: bytes, began_at: float) -> None:
        self._ours = (content,)
        self._seen = None
        self._renewed_at = began_at

    def _lose(self) -> None:
        self._progress = {}
        self._ours = ()
        self._renewed_at = _NEVER
