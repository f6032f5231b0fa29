"""The limits of the cache, kept by evictions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.ports.blob_storage import BlobStorage
from core.pull_through.admission import START_SHARE, TARGET_SHARE
from core.pull_through.eviction import EvictionReport, Evictor
from core.pull_through.selection import Eviction
from core.pull_through.usage import CacheUsage, Measurement
from core.store.clock import StoreClock

SURVEY_AGE_MAX: Final = timedelta(hours=1)
"""The cache is surveyed at least this often, for images that were unused for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one cache."""

    size_max: int | None = None
    free_min: Callable[[int], int] = lambda _total: 0
    """Returns the space that stays free on a disk of the given size."""
    unused: timedelta | None = None
    """How long an image stays after its last use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """The size of the cache, from its last measurement and what it has grown by since."""

    measurement: Measurement
    grown: int

    @property
    def total(self) -> int:
        """The number of bytes, at most."""
        return self.measurement.size + self.grown


class LimitKeeper:
    """Removes images beyond the limits. One per process, used by one task."""

    def __init__(
        self, evictor: Evictor, storage: BlobStorage, usage: CacheUsage, store_clock: StoreClock, limits: Limits
    ) -> None:
        self._evictor = evictor
        self._storage = storage
        self._usage = usage
        self._store_clock = store_clock
        self._limits = limits

    async def size(self) -> CacheSize | None:
        """Return the size of the cache, or None if it was never measured. Three requests, and one per process."""
        counts = await self._usage.counts()
        if (measurement := await self._usage.measurement()) is None:
            return None
        return CacheSize(measurement=measurement, grown=measurement.grown(counts))

    async def enforce(self, *, demand: int = 0) -> EvictionReport | None:
        """Remove images if a limit is exceeded or may be; return None if there was nothing to check.

        Costs a few requests while the cache is small and was surveyed recently.

        Args:
            demand: the size of content that was refused, and for which there shall be room.

        Raises:
            StorageError: the store failed; the next call continues.
        """
        now = (await self._store_clock.look()).now
        size, lacking = await self.size(), await self._lacking(demand)
        is_large = size is None or size.total > self._starts_above(demand)
        if size is not None and not lacking and not is_large and not self._is_old(size, now):
            return None
        return await self._evictor.evict(await self._eviction(lacking, demand))

    async def _eviction(self, lacking: int, demand: int) -> Eviction:
        limits = self._limits
        unused = None if limits.unused is None else (await self._store_clock.look()).before(limits.unused)
        return Eviction(
            unused_since=unused,
            size_max=None if limits.size_max is None else self._share(TARGET_SHARE, demand),
            starts_above=self._starts_above(demand),
            bytes_to_free=lacking,
        )

    async def _lacking(self, demand: int) -> int:
        """Return the space to free, or 0 while there is room for the demand beside the limit and a reserve."""
        if (space := await self._storage.space()) is None:
            return 0
        free_min = self._limits.free_min(space.total)
        if not free_min or space.free - demand >= free_min / START_SHARE:
            return 0
        return max(0, int(free_min / TARGET_SHARE) + demand - space.free)

    def _starts_above(self, demand: int) -> int:
        return self._share(START_SHARE, demand)

    def _share(self, share: float, demand: int) -> int:
        """Return a share of the size limit, or what remains beside the demand if that is less."""
        size_max = sys.maxsize if self._limits.size_max is None else self._limits.size_max
        return min(int(size_max * share), size_max - demand)

    def _is_old(self, size: CacheSize, now: datetime) -> bool:
        measured_at = size.measurement.measured_at
        return measured_at is None or now - measured_at > SURVEY_AGE_MAX
