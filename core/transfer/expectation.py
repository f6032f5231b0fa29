"""Estimate of the bytes that a pass sends, for progress displays."""

from collections.abc import AsyncIterable

from core.coordination.budget import Budget
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.transfer.blobs import BlobTransfer, Work
from core.transfer.comparison import Comparison
from core.transfer.tasks import for_each


async def expect_all(work: Work) -> None:
    """Expect the size of all blobs at the source minus those at the target. One request per 1,000 on object stores."""
    sent = work.tally.progress.bytes_sent
    missing = await _stored_bytes(work.source, work.budget) - await _stored_bytes(work.target, work.budget)
    work.tally.expect(max(0, sent + missing))


async def expect_some(
    work: Work, names: AsyncIterable[RepositoryName], comparison: Comparison, blobs: BlobTransfer
) -> None:
    """Expect the blobs that these repositories do not link at the target. One request for each such blob."""
    sent = work.tally.progress.bytes_sent
    sizes: dict[Digest, int] = {}

    async def measure(digest: Digest) -> None:
        if digest not in sizes and (size := await blobs.size(digest)) is not None:
            sizes[digest] = size

    async for name in names:
        await for_each(measure, comparison.unlinked(name))
    work.tally.expect(sent + sum(sizes.values()))


async def _stored_bytes(storage: BlobStorage, budget: Budget) -> int:
    total = 0
    async for _, stat in budget.pace(storage.walk(layout.BLOBS)):
        total += stat.size
    return total
