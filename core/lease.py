"""One of several replicas does a job: a lease is an object in storage that its holder keeps rewriting.

No clock of one process is compared with that of another: a contender measures by its own monotonic clock how long the
object has not changed. A lease saves work, and no safety rests on it: a store without a conditional write lets two
hold one where a process stands still for longer than the lease lasts between looking at the object and removing it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from core.errors import ObjectNotFoundError, StorageError
from core.ports.blob_storage import BlobStorage

_logger = logging.getLogger(__name__)

_CONTENT_BYTES_MAX: Final = 4096
_RENEWALS: Final = 3
"""How many renewals fall into one time to live: two may fail."""
_PATIENCE: Final = 1.1
"""Contenders wait this many times to live: clocks do not run equally fast."""
_SETTLE_FREE: Final = 1 / 6
"""How much of the time to live one waits for others that took the same free lease, before reading who was last."""
_SETTLE_TAKEOVER: Final = 1 / 2
"""The same after taking over, when the old holder may still write once: more than the time between renewals."""
_NEVER: Final = float("-inf")


class Lease:
    """A lease as one holder or contender sees it; used by one task at a time, besides `keep` and `is_held`.

    Args:
        storage: what all replicas share.
        key: the lease object (`core.layout.lease`).
        owner_id: names this object among all others of all replicas; it is shown to people.
        ttl: seconds after which a holder that is not heard of has lost the lease.
        clock: monotonic seconds of this process.
        sleep: suspends for so many seconds of that clock.
    """

    def __init__(
        self,
        storage: BlobStorage,
        key: str,
        *,
        owner_id: str,
        ttl: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._key = key
        self._owner_id = owner_id
        self._ttl = ttl
        self._clock = clock
        self._sleep = sleep
        self._counter = 0
        self._renewed_at = _NEVER
        self._ours: tuple[bytes, ...] = ()
        self._seen: bytes | None = None
        self._seen_since = _NEVER

    @property
    def is_awaited(self) -> bool:
        """Whether another held the lease when `try_acquire` last looked."""
        return self._seen is not None

    @property
    def is_held(self) -> bool:
        """Whether the lease is ours right now; turns false by itself before anybody else may take over."""
        return self._clock() < self._renewed_at + self._ttl

    async def try_acquire(self) -> bool:
        """Take the lease if it is free, or if its holder has not been heard of for longer than it lasts.

        Call it again and again to take over from a holder that died: it must have been looked at before. Costs one
        request while another holds it. Taking it costs two, and where the store creates not exclusively or the lease
        is taken over three, and a wait of up to half its time to live.

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
        """Call `try_acquire` for `patience` seconds, a few times per time to live; return whether it worked.

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
        """Extend a lease that is held; return whether it still is. Two requests.

        Raises:
            StorageError: the store failed; the lease goes on for as long as it had, and may be renewed again.
        """
        began_at = self._clock()
        if self.is_held and await self._look() not in self._ours:
            self._lose()
        # Looked at again: the answer may have come late, and then others may have taken over since.
        if not self.is_held:
            return False
        content = self._next_content()
        self._ours = (self._ours[-1], content)
        await self._storage.write(self._key, content)
        self._renewed_at = began_at
        return self.is_held

    async def keep(self) -> None:
        """Renew the lease in time, again and again, until it is lost."""
        while self.is_held:
            await self._sleep(max(0.0, self._renewed_at + self._ttl / _RENEWALS - self._clock()))
            try:
                await self.renew()
            except StorageError as error:
                _logger.warning("lease could not be renewed: %s", error, extra={"key": self._key})
                await self._sleep(self._ttl / _RENEWALS / 2)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Keep a lease that is held for the length of the block, and give it back at its end.

        Work of many steps looks at `is_held` between them, and ends when the lease is lost.
        """
        keeper = asyncio.create_task(self.keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await self.release()

    async def release(self) -> None:
        """Give the lease back, so that others need not wait. Never fails: where the store does, it ends by itself."""
        if self._clock() < self._renewed_at + self._ttl * _SETTLE_TAKEOVER:
            try:
                if await self._look() in self._ours:
                    await self._storage.delete([self._key])
            except StorageError as error:
                _logger.info("lease is left to end by itself: %s", error, extra={"key": self._key})
        self._lose()

    async def owner(self) -> str | None:
        """Return the id of who holds the lease, or held it last; None where nobody does. One request.

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
        """Return the store's own time at the last renewal: a moment ago where the lease was just acquired. One request.

        Raises:
            StorageError: the store failed, or nobody holds the lease.
        """
        return (await self._storage.stat(self._key)).modified_at

    async def _create(self) -> bool:
        began_at = self._clock()
        content = self._next_content()
        # The store may have taken our content though its answer was another one.
        if await self._storage.create(self._key, content) or await self._look() == content:
            self._hold(content, began_at)
        return self.is_held

    async def _claim(self, looked_at: float, settle: float) -> bool:
        """Write over what was seen at `looked_at`, then wait and see whether others did so too."""
        began_at = self._clock()
        content = self._next_content()
        await self._storage.write(self._key, content)
        if self._clock() - looked_at > self._ttl * settle / 2:
            # Too late: another may have written, waited and read before this was there.
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
        return json.dumps({"owner": self._owner_id, "counter": self._counter}).encode()

    def _hold(self, content: bytes, began_at: float) -> None:
        self._ours = (content,)
        self._seen = None
        self._renewed_at = began_at

    def _lose(self) -> None:
        self._ours = ()
        self._renewed_at = _NEVER
