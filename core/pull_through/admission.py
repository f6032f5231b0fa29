"""Admission: whether fetched content may be stored in the cache."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from core.errors import StorageError
from core.ports.blob_storage import BlobStorage
from core.pull_through.usage import CacheUsage, Measurement
from core.typing import override

_logger = logging.getLogger(__name__)

START_SHARE: Final = 0.9
"""The share of the size limit at which an eviction begins, so that there is room until it has ended."""
TARGET_SHARE: Final = 0.8
"""The share of the size limit that an eviction leaves."""
_STEPS: Final = 200
"""A process records its growth after this fraction of the limit; other processes may exceed the limit by as much."""
_UNMEASURED: Final = Measurement(size=0, images=0)


class Admission:
    """Admits all content. One per process; safe for concurrent tasks."""

    async def make_room(self, size: int) -> bool:
        """Return whether `size` more bytes may be stored; call this before content is committed to the store.

        Does not wait for space: if the cache is full, an eviction is requested, and the content is passed on to the
        clients without being stored. Mostly costs no storage request.
        """
        del size
        return True


class LimitedAdmission(Admission):
    """Admits content up to the limits of the cache, and requests evictions.

    Args:
        storage: the store.
        process: returns a name for this process that no other process has, of letters, digits and dashes. Called once,
            in the process that stores content: a server creates the admission before the fork.
        size_max: the largest size of the cache; None if it has no limit.
        free_min: returns the space that stays free on a disk of the given size.
    """

    def __init__(
        self, storage: BlobStorage, *, process: Callable[[], str], size_max: int | None, free_min: Callable[[int], int]
    ) -> None:
        self._storage = storage
        self._usage = CacheUsage(storage)
        self._process = cache(process)
        self._size_max = size_max
        self._free_min = free_min
        self._lock = asyncio.Lock()
        self._count = 0
        self._written = 0
        self._demand = 0
        self._measurement: Measurement | None = None
        self._counts: Mapping[str, int] = {}
        self.wanted = asyncio.Event()
        """Set if space is needed."""

    @override
    async def make_room(self, size: int) -> bool:
        try:
            return await self._has_space(size) and await self._fits(size)
        except StorageError as error:
            _logger.warning("content not stored in the cache: %s", error)
            return False

    def take_demand(self) -> int:
        """Return the size of the largest content that was refused since the last call, and reset `wanted`."""
        demand, self._demand = self._demand, 0
        self.wanted.clear()
        return demand

    async def flush(self) -> None:
        """Record the growth; called before the process ends.

        Raises:
            StorageError: the store failed.
        """
        async with self._lock:
            await self._write()

    async def _fits(self, size: int) -> bool:
        size_max = self._size_max
        if size_max is None:
            return True
        if size > size_max:
            return False
        async with self._lock:
            if self._measurement is None or self._total + size > size_max * START_SHARE:
                await self._look()
            if self._total + size > size_max:
                return self._refuse(size)
            # Counted from here on, even if it is refused after all: a count that shrinks would hide later growth.
            self._count += size
            if self._count - self._written > size_max / _STEPS:
                await self._look()
            if self._total > size_max:
                return self._refuse(size)
            if self._measurement is None or self._total > size_max * START_SHARE:
                self.wanted.set()
            return True

    def _refuse(self, size: int) -> bool:
        self._demand = max(self._demand, size)
        self.wanted.set()
        return False

    async def _has_space(self, size: int) -> bool:
        if (space := await self._storage.space()) is None or not (free_min := self._free_min(space.total)):
            return True
        if size > space.total - free_min:
            return False
        if space.free - size < free_min:
            return self._refuse(size)
        if space.free - size < free_min / START_SHARE:
            self.wanted.set()
        return True

    @property
    def _total(self) -> int:
        known = self._measurement or _UNMEASURED
        return known.size + known.grown({**self._counts, self._process(): self._count})

    async def _look(self) -> None:
        # Written before the others are read: of two processes that look at once, one sees the other.
        await self._write()
        self._counts = await self._usage.counts()
        self._measurement = await self._usage.measurement()

    async def _write(self) -> None:
        if self._count != self._written:
            await self._usage.write_count(self._process(), self._count)
            self._written = self._count
