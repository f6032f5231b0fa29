"""Writes to the target of a copy, protected against garbage collection there."""

from collections.abc import Sequence
from typing import Final

from core.collection.guard import Need
from core.concurrency import slices
from core.ports.blob_storage import KEYS_PER_REQUEST
from core.transfer.blobs import Work

ATTEMPTS: Final = 3
"""Attempts to copy content that garbage collection removes during the copy. One retry is usually enough."""


class Target:
    """Links and small objects of the target. In a dry run nothing is written, and every call succeeds."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def ticket(self) -> float:
        """Return a ticket for `keeps` (see `CollectionGuard.ticket`)."""
        return 0.0 if self._work.is_dry else await self._work.guard.ticket()

    async def keeps(self, ticket: float, needs: Sequence[Need]) -> bool:
        """Return whether garbage collection keeps these references, which were checked or written since `ticket`."""
        return self._work.is_dry or not await self._work.guard.confirm(ticket, needs)

    async def write(self, key: str, content: bytes) -> None:
        """Store a small object."""
        if not self._work.is_dry:
            await self._work.budget.take(size=len(content))
            await self._work.target.write(key, content)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects in this order, up to 1,000 per request if the store can."""
        for batch in slices(keys, KEYS_PER_REQUEST):
            if not self._work.is_dry:
                await self._work.budget.take(requests=1)
                await self._work.target.delete(batch)

    async def delete_tree(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        if not self._work.is_dry:
            await self._work.budget.take(requests=2)
            await self._work.target.delete_tree(prefix)
