"""Pins: durable records that protect digests from a round of garbage collection.

A server writes a pin when a client relies on a digest that a round lists for removal.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from core.concurrency import map_bounded
from core.model.digest import Digest
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.link_keys import digest_at


class Pins:
    """Reads and writes pins. Stateless, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def write(self, digests: Collection[Digest]) -> None:
        """Protect these digests from every round that has not begun to remove them. One storage request each."""

        async def write_one(digest: Digest) -> None:
            await self._storage.write(layout.pin(digest), b"")

        await map_bounded(write_one, digests)

    async def all(self) -> Mapping[Digest, datetime]:
        """Return the pinned digests, each with its pin's time by the store's clock. One storage request per 1,000."""
        found: dict[Digest, datetime] = {}
        async for key, stat in self._storage.walk(layout.PINS):
            algorithm, _, encoded = key.removeprefix(f"{layout.PINS}/").partition("/")
            # No server writes a key without a digest, but an operator may have.
            if (digest := digest_at(algorithm, encoded)) is not None:
                found[digest] = stat.modified_at
        return found

    async def remove(self, digests: Collection[Digest]) -> None:
        """Remove the pins of these digests. One storage request per 1,000."""
        if digests:
            await self._storage.delete([layout.pin(digest) for digest in digests])
