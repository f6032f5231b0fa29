"""State that all parts of a copy share, and writes to the target, protected against garbage collection there."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from core.collection.guard import CollectionGuard, Need
from core.concurrency import slices
from core.content_source import Offload
from core.coordination.budget import Budget
from core.model.digest import HasherFactory
from core.model.names import RepositoryName
from core.ports.blob_storage import KEYS_PER_REQUEST, BlobStorage
from core.ports.staging import StagingStorage
from core.transfer.tally import Tally
from core.trash.store import Trash


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyContext:
    """Dependencies and options that all parts of a copy share, and their writes to the target.

    In a dry run nothing is written, and every call succeeds.
    """

    source: BlobStorage
    """The storage to copy from; only read."""
    target: StagingStorage
    transfer_id: str
    """Name of the copy at the target; the same when the copy is started again."""
    new_hasher: HasherFactory
    offload: Offload
    budget: Budget
    sleep: Callable[[float], Awaitable[None]]
    tally: Tally
    guard: CollectionGuard
    """Protects the copied content from garbage collection at the target."""
    trash: Trash
    """The trash of the target. It records the links that the copy removes."""
    is_cached: Callable[[RepositoryName], bool] = lambda _name: False
    """Whether the content of a source repository comes from an upstream on demand, so that blobs may be absent."""
    is_dry: bool = False
    """Whether to write nothing."""
    rereads_target: bool = False
    """Whether to re-hash blobs that already exist at the target."""
    blobs_at_once: int = 4
    """Blobs above `SMALL_BYTES_MAX` of `blobs` in progress at once. Each may hold the parts of an upload in memory."""

    async def ticket(self) -> float:
        """Return a ticket for `keeps` (see `CollectionGuard.ticket`)."""
        return 0.0 if self.is_dry else await self.guard.ticket()

    async def keeps(self, ticket: float, needs: Sequence[Need]) -> bool:
        """Return whether garbage collection keeps these references, which were checked or written since `ticket`."""
        return self.is_dry or not await self.guard.confirm(ticket, needs)

    async def write(self, key: str, content: bytes) -> None:
        """Store a small object."""
        if not self.is_dry:
            await self.budget.take(size=len(content))
            await self.target.write(key, content)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects in this order, up to 1,000 per request if the store can."""
        for batch in slices(keys, KEYS_PER_REQUEST):
            if not self.is_dry:
                await self.budget.take(requests=1)
                await self.target.delete(batch)

    async def delete_tree(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        if not self.is_dry:
            await self.budget.take(requests=2)
            await self.target.delete_tree(prefix)
