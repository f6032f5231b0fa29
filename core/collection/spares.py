"""Spares: durable notes that somebody relies on a digest that a round of collection was about to take."""

from collections.abc import Collection, Mapping
from datetime import datetime

from core import layout
from core.concurrency import map_bounded
from core.digest import Digest
from core.errors import DigestInvalidError
from core.ports.blob_storage import BlobStorage


class Spares:
    """Reads and writes spares; holds nothing, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def write(self, digests: Collection[Digest]) -> None:
        """Have these digests spared by every round that has not begun to remove them. One storage request each."""

        async def write_one(digest: Digest) -> None:
            await self._storage.write(layout.spare(digest), b"")

        await map_bounded(write_one, digests)

    async def all(self) -> Mapping[Digest, datetime]:
        """Return what is spared, and since when by the store's clock. One storage request per 1,000."""
        found: dict[Digest, datetime] = {}
        async for key, stat in self._storage.walk(layout.SPARES):
            algorithm, _, encoded = key.removeprefix(f"{layout.SPARES}/").partition("/")
            try:
                found[Digest(f"{algorithm}:{encoded}")] = stat.modified_at
            except DigestInvalidError:
                # Nobody who serves writes such a key; a person may have.
                continue
        return found

    async def remove(self, digests: Collection[Digest]) -> None:
        """Have these digests spared no more. One storage request per 1,000."""
        if digests:
            await self._storage.delete([layout.spare(digest) for digest in digests])
