"""The size of the cache: measured by one process, and added up from the growth that every process records.

Each process counts the bytes that it stored since it started, and writes this count when it has grown by a step. The
process that measures the cache notes the counts from before the measurement. So the size is at most the measured one
plus what the counts have grown by since, plus one step for each process.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from core.errors import ObjectNotFoundError
from core.ports.blob_storage import BlobStorage
from core.store import layout

_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A measured size of the cache."""

    size: int
    images: int
    counts: Mapping[str, int] = field(default_factory=dict)
    """The count of each process before the measurement."""
    measured_at: datetime | None = None
    """By the store's clock; None before the measurement is stored."""

    def grown(self, counts: Mapping[str, int]) -> int:
        """Return how much these counts have grown since the measurement."""
        return sum(max(0, count - self.counts.get(process, 0)) for process, count in counts.items())


class CacheUsage:
    """Reads and writes the records of the cache's size. Stateless."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def measurement(self) -> Measurement | None:
        """Return the last measurement, or None if there is none that can be read. Two requests."""
        try:
            content = json.loads(await self._storage.read(layout.CACHE_SIZE, limit=_BYTES_MAX))
            return Measurement(
                size=int(content["size"]),
                images=int(content["images"]),
                counts={str(process): int(count) for process, count in content["counts"].items()},
                measured_at=(await self._storage.stat(layout.CACHE_SIZE)).modified_at,
            )
        except (ObjectNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    async def record(self, measurement: Measurement) -> None:
        """Store a measurement. One request."""
        document = {"size": measurement.size, "images": measurement.images, "counts": dict(measurement.counts)}
        await self._storage.write(layout.CACHE_SIZE, json.dumps(document).encode())

    async def counts(self) -> Mapping[str, int]:
        """Return the count of each process. One request, and one per process."""
        found: dict[str, int] = {}
        async for key, _ in self._storage.walk(layout.CACHE_GROWTH):
            try:
                found[key.rpartition("/")[2]] = int(await self._storage.read(key, limit=64))
            except (ObjectNotFoundError, ValueError):
                # Removed since the listing, or not written by a registry.
                continue
        return found

    async def write_count(self, process: str, count: int) -> None:
        """Store the count of a process, whose name consists of letters, digits and dashes. One request."""
        await self._storage.write(layout.cache_growth(process), str(count).encode(), durable=False)

    async def forget_processes(self, before: datetime) -> None:
        """Remove the counts that were last written before a time. One request."""
        old = [key async for key, stat in self._storage.walk(layout.CACHE_GROWTH) if stat.modified_at < before]
        await self._storage.delete(old)
