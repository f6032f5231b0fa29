"""Rounds of removal: publish candidates, wait, mark again, and remove the remaining garbage in batches."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from core.collection.items import Item, ItemKind, data_of, links_of
from core.collection.marking import Marker
from core.collection.marks import Marks
from core.collection.pins import Pins
from core.collection.report import CollectionObserver, CollectionReport, Phase
from core.collection.rounds import Batches, Rounds
from core.concurrency import map_bounded, slices
from core.coordination.budget import Budget
from core.errors import StorageError, StorageUnavailableError
from core.model.digest import Digest
from core.ports.blob_storage import KEYS_PER_REQUEST, BlobStorage
from core.ports.descriptor_cache import DescriptorCache
from core.store import layout
from core.store.links import RemovedLink
from core.trash.entry import TrashEntry, TrashKind
from core.trash.store import Trash

_ROUND_CHECK_SECONDS: Final = 5.0
"""How long a check that the round exists stays valid. Another collector waits far longer before it ends a round."""
_REQUESTS_PER_MOVE: Final = 2
"""Approximate requests for a move on an object store: a copy or rename, and a delete or stat."""
_logger = logging.getLogger(__name__)

BATCH_ITEMS: Final = 1_000
"""Items removed between two listings of the pins: one or two seconds of work."""
HEARTBEAT_SECONDS: Final = 3.0
"""Interval of a collector's heartbeat. Guards treat the collector as dead after three missing heartbeats."""


class RoundLostError(StorageUnavailableError):
    """Another collector ended this round as abandoned. The items of the current batch have been restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalContext:
    """Dependencies of the removal. One instance per run."""

    storage: BlobStorage
    rounds: Rounds
    pins: Pins
    trash: Trash
    cache: DescriptorCache
    """The cache from which removed blobs are dropped. Processes may share it."""
    budget: Budget
    marker: Marker
    marks: Marks
    report: CollectionReport
    observe: CollectionObserver
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    settle_seconds: float
    """Time for servers to notice the round; 0 if no server runs."""
    round_items_max: int


class Remover:
    """Runs rounds one after another."""

    def __init__(self, context: RemovalContext) -> None:
        self._context = context

    async def remove_all(self, items: AsyncIterator[Item], *, goes_on: Callable[[], bool]) -> bool:
        """Remove all items, in rounds of bounded size. Return False if `goes_on` stopped the removal.

        Raises:
            RoundLostError: another collector treated this one as dead.
            StorageError: the store failed; the next collector ends the round.
        """
        some: list[Item] = []
        async for item in items:
            some.append(item)
            if len(some) == self._context.round_items_max:
                await self.remove(some)
                some = []
                if not goes_on():
                    return False
        if some:
            await self.remove(some)
        return True

    async def remove(self, items: Sequence[Item]) -> None:
        """Publish the items as a round, wait, and remove those that are still garbage.

        Raises:
            RoundLostError: another collector treated this one as dead.
            StorageError: the store failed; the next collector ends the round.
        """
        context = self._context
        entry = context.trash.new_entry(TrashKind.COLLECTION, reason="garbage collection")
        # The round shares the id of its trash entry, so that recovery finds the removed items.
        await context.rounds.begin(entry.id, _batches_of(items), settle_seconds=context.settle_seconds)
        context.report.rounds += 1
        context.report.round_items, context.report.round_done = len(items), 0
        async with self._heartbeat(entry.id):
            try:
                self._enter(Phase.SETTLING)
                await context.sleep(context.settle_seconds)
                self._enter(Phase.LOOKING_AGAIN)
                await context.marker.mark_new()
            except BaseException:
                # Also on cancellation. Nothing has been removed yet, so the round can end now, without recovery.
                await self._abandon(entry.id)
                raise
            self._enter(Phase.REMOVING)
            await _Execution(context, entry, items).run()
        await context.rounds.end(entry.id)
        if not context.trash.is_on:
            await context.trash.discard(entry.id)

    async def _abandon(self, round_id: str) -> None:
        try:
            await self._context.rounds.end(round_id)
        except StorageError as error:
            _logger.info("round not ended, the next collector will end it: %s", error, extra={"round": round_id})

    def _enter(self, phase: Phase) -> None:
        self._context.report.phase = phase
        self._context.observe(self._context.report)

    @asynccontextmanager
    async def _heartbeat(self, round_id: str) -> AsyncIterator[None]:
        heartbeat = asyncio.create_task(self._write_heartbeats(round_id))
        try:
            yield
        finally:
            heartbeat.cancel()
            await asyncio.wait([heartbeat])

    async def _write_heartbeats(self, round_id: str) -> None:
        count = 0
        while True:
            await self._context.sleep(HEARTBEAT_SECONDS)
            count += 1
            try:
                await self._context.rounds.write_heartbeat(round_id, count)
            except StorageError as error:
                # The next heartbeat may succeed. If the store is down, the removal itself fails.
                _logger.info("heartbeat not written: %s", error, extra={"round": round_id})


class _Execution:
    """The removal phase of one round."""

    def __init__(self, context: RemovalContext, entry: TrashEntry, items: Sequence[Item]) -> None:
        self._context = context
        self._entry = entry
        self._items = items
        self._pinned: set[Digest] = set()
        self._next_part = 0
        self._checked_at = float("-inf")

    async def run(self) -> None:
        context = self._context
        for number, batch in enumerate(slices(self._items, BATCH_ITEMS)):
            # The order matters: pins written before the batch began are honoured; requests that write one later wait.
            await context.rounds.enter(self._entry.id, number)
            await self._keep_pinned(await context.pins.all())
            garbage = [item for item in batch if item.digest not in self._pinned and item.is_garbage(context.marks)]
            # `_give_back` restores the items of a lost round, and detects the loss itself.
            with suppress(RoundLostError):
                await self._remove(garbage)
            await self._give_back(garbage)
            context.report.spared += len(batch) - len(garbage)
            context.report.round_done += len(batch)
            context.observe(context.report)

    async def _require_round(self, requests: int) -> None:
        """Charge the budget, then check as late as possible that servers can still see the round."""
        context = self._context
        await context.budget.take(requests=requests)
        now = context.clock()
        if now - self._checked_at > _ROUND_CHECK_SECONDS:
            if not await context.rounds.exists(self._entry.id):
                raise RoundLostError("another collector ended this round")
            self._checked_at = now

    async def _keep_pinned(self, pinned: Collection[Digest]) -> None:
        """Mark the pinned digests as needed, with everything they refer to."""
        new = set(pinned) - self._pinned
        if not new:
            return
        self._pinned |= new
        marks = self._context.marks
        for item in self._items:
            if item.digest not in new or item.name is None:
                continue
            if item.kind is ItemKind.MANIFEST:
                await self._context.marker.keep_again(marks.repository(item.name), [item.digest])
            elif item.kind is ItemKind.LAYER:
                marks.need_blob(item.name, item.digest)
                marks.need_blob(item.name, item.target or item.digest)

    async def _remove(self, garbage: Sequence[Item]) -> None:
        if not garbage:
            return
        context = self._context
        for item in garbage:
            context.report.count_removal(item, 1)
        links, data = links_of(garbage), data_of(garbage)
        self._next_part = await context.trash.record(
            self._entry,
            links=links,
            blobs=[item.digest for item in data],
            blob_bytes=sum(item.size for item in data),
            first_part=self._next_part,
        )
        for some in slices(links, KEYS_PER_REQUEST):
            await self._require_round(1)
            await context.storage.delete([link.key for link in some])
        await map_bounded(self._move, data)
        await self._prune(links, data)
        await map_bounded(context.cache.forget_everywhere, {item.digest for item in garbage})

    async def _move(self, item: Item) -> bool:
        await self._require_round(_REQUESTS_PER_MOVE)
        return await self._context.trash.move_blob(item.digest, self._entry)

    async def _prune(self, links: Sequence[RemovedLink], data: Sequence[Item]) -> None:
        storage = self._context.storage
        await storage.prune([link.key.rpartition("/")[0] for link in links], below=layout.REPOSITORIES)
        await storage.prune([layout.blob_directory(item.digest) for item in data], below=layout.BLOBS)

    async def _give_back(self, removed: Sequence[Item]) -> None:
        """Restore the items that were pinned during the batch, or the whole batch if the round was ended."""
        context = self._context
        pinned = await context.pins.all()
        is_lost = not await context.rounds.exists(self._entry.id)
        new = set(pinned) - self._pinned
        back = dict.fromkeys(item for item in removed if is_lost or item.digest in new)
        await self._restore(list(back))
        await self._keep_pinned(pinned)
        # Also restore the content that a restored manifest needs.
        await self._restore([item for item in removed if item not in back and not item.is_garbage(context.marks)])
        if is_lost:
            raise RoundLostError("another collector ended this round")

    async def _restore(self, items: Sequence[Item]) -> None:
        context = self._context
        await map_bounded(context.trash.return_blob, [item.digest for item in data_of(items)])
        for link in links_of(items):
            await context.storage.write(link.key, link.target.encode("ascii"))
        for item in items:
            context.report.count_removal(item, -1)
            context.report.spared += 1


def _batches_of(items: Sequence[Item]) -> Mapping[Digest, Batches]:
    batches: dict[Digest, Batches] = {}
    for position, item in enumerate(items):
        number = position // BATCH_ITEMS
        known = batches.get(item.digest)
        if known is None or known.last != number:
            batches[item.digest] = Batches(known.first if known else number, number)
    return batches
