"""Rounds of removal: publish candidates, wait, mark again, and remove the remaining garbage in batches."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from core.collection.items import Item, ItemKind, data_of, links_of
from core.collection.marking import Marker
from core.collection.pins import Pins
from core.collection.report import Phase
from core.collection.rounds import Batches, Rounds
from core.collection.run import Run
from core.concurrency import map_bounded, slices
from core.errors import StorageError, StorageUnavailableError
from core.model.digest import Digest
from core.ports.blob_storage import KEYS_PER_REQUEST
from core.store import layout
from core.store.links import RemovedLink
from core.trash.entry import TrashEntry, TrashKind

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


class Remover:
    """Runs rounds one after another.

    Args:
        run: the store and the marks.
        marker: marks again before each removal.
        kind: the kind of the trash entries.
        reason: the reason in the trash entries.
    """

    def __init__(
        self,
        run: Run,
        marker: Marker,
        *,
        kind: TrashKind = TrashKind.COLLECTION,
        reason: str = "garbage collection",
    ) -> None:
        self._run = run
        self._marker = marker
        self._kind = kind
        self._reason = reason
        self._rounds = Rounds(run.store.storage)

    async def remove_all(self, items: AsyncIterator[Item]) -> bool:
        """Remove all items, in rounds of bounded size. Return False if `goes_on` of the context stopped the removal.

        Raises:
            RoundLostError: another collector treated this one as dead.
            StorageError: the store failed; the next collector ends the round.
        """
        some: list[Item] = []
        async for item in items:
            some.append(item)
            if len(some) == self._run.options.round_items_max:
                await self.remove(some)
                some = []
                if not self._run.context.goes_on():
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
        run, settle_seconds = self._run, self._run.options.effective_settle_seconds
        entry = run.trash.new_entry(self._kind, reason=self._reason)
        # The round shares the id of its trash entry, so that recovery finds the removed items.
        await self._rounds.begin(entry.id, _batches_of(items), settle_seconds=settle_seconds)
        run.report.rounds += 1
        run.report.round_items, run.report.round_done = len(items), 0
        async with self._heartbeat(entry.id):
            try:
                self._enter(Phase.SETTLING)
                await run.context.sleep(settle_seconds)
                self._enter(Phase.LOOKING_AGAIN)
                await self._marker.mark_new()
            except BaseException:
                # Also on cancellation. Nothing has been removed yet, so the round can end now, without recovery.
                await self._abandon(entry.id)
                raise
            self._enter(Phase.REMOVING)
            await _Execution(run, self._marker, entry, items).run()
        await self._rounds.end(entry.id)
        if not run.trash.is_on:
            await run.trash.discard(entry.id)

    async def _abandon(self, round_id: str) -> None:
        try:
            await self._rounds.end(round_id)
        except StorageError as error:
            _logger.info("round not ended, the next collector will end it: %s", error, extra={"round": round_id})

    def _enter(self, phase: Phase) -> None:
        self._run.report.phase = phase
        self._run.context.observe(self._run.report)

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
            await self._run.context.sleep(HEARTBEAT_SECONDS)
            count += 1
            try:
                await self._rounds.write_heartbeat(round_id, count)
            except StorageError as error:
                # The next heartbeat may succeed. If the store is down, the removal itself fails.
                _logger.info("heartbeat not written: %s", error, extra={"round": round_id})


class _Execution:
    """The removal phase of one round."""

    def __init__(self, run: Run, marker: Marker, entry: TrashEntry, items: Sequence[Item]) -> None:
        self._run = run
        self._marker = marker
        self._rounds = Rounds(run.store.storage)
        self._pins = Pins(run.store.storage)
        self._entry = entry
        self._items = items
        self._pinned: set[Digest] = set()
        self._next_part = 0
        self._checked_at = float("-inf")

    async def run(self) -> None:
        run = self._run
        for number, batch in enumerate(slices(self._items, BATCH_ITEMS)):
            # The order matters: pins written before the batch began are honoured; requests that write one later wait.
            await self._rounds.enter(self._entry.id, number)
            await self._keep_pinned(await self._pins.all())
            garbage = [item for item in batch if item.digest not in self._pinned and item.is_garbage(run.marks)]
            # `_give_back` restores the items of a lost round, and detects the loss itself.
            with suppress(RoundLostError):
                await self._remove(garbage)
            await self._give_back(garbage)
            run.report.spared += len(batch) - len(garbage)
            run.report.round_done += len(batch)
            run.context.observe(run.report)

    async def _require_round(self, requests: int) -> None:
        """Charge the budget, then check as late as possible that servers can still see the round."""
        run = self._run
        await run.store.budget.take(requests=requests)
        now = run.context.clock()
        if now - self._checked_at > _ROUND_CHECK_SECONDS:
            if not await self._rounds.exists(self._entry.id):
                raise RoundLostError("another collector ended this round")
            self._checked_at = now

    async def _keep_pinned(self, pinned: Collection[Digest]) -> None:
        """Mark the pinned digests as needed, with everything they refer to."""
        new = set(pinned) - self._pinned
        if not new:
            return
        self._pinned |= new
        marks = self._run.marks
        for item in self._items:
            if item.digest not in new or item.name is None:
                continue
            if item.kind is ItemKind.MANIFEST:
                await self._marker.keep_again(marks.repository(item.name), [item.digest])
            elif item.kind is ItemKind.LAYER:
                marks.need_blob(item.name, item.digest)
                marks.need_blob(item.name, item.target or item.digest)

    async def _remove(self, garbage: Sequence[Item]) -> None:
        if not garbage:
            return
        run = self._run
        for item in garbage:
            run.report.count_removal(item, 1)
        links, data = links_of(garbage), data_of(garbage)
        self._next_part = await run.trash.record(
            self._entry,
            links=links,
            blobs=[item.digest for item in data],
            blob_bytes=sum(item.size for item in data),
            first_part=self._next_part,
        )
        for some in slices(links, KEYS_PER_REQUEST):
            await self._require_round(1)
            await run.store.storage.delete([link.key for link in some])
        await map_bounded(self._move, data)
        await self._prune(links, data)
        await map_bounded(run.cache.forget_everywhere, {item.digest for item in garbage})

    async def _move(self, item: Item) -> bool:
        await self._require_round(_REQUESTS_PER_MOVE)
        return await self._run.trash.move_blob(item.digest, self._entry)

    async def _prune(self, links: Sequence[RemovedLink], data: Sequence[Item]) -> None:
        storage = self._run.store.storage
        await storage.prune([link.key.rpartition("/")[0] for link in links], below=layout.REPOSITORIES)
        await storage.prune([layout.blob_directory(item.digest) for item in data], below=layout.BLOBS)

    async def _give_back(self, removed: Sequence[Item]) -> None:
        """Restore the items that were pinned during the batch, or the whole batch if the round was ended."""
        run = self._run
        pinned = await self._pins.all()
        is_lost = not await self._rounds.exists(self._entry.id)
        new = set(pinned) - self._pinned
        back = dict.fromkeys(item for item in removed if is_lost or item.digest in new)
        await self._restore(list(back))
        await self._keep_pinned(pinned)
        # Also restore the content that a restored manifest needs.
        await self._restore([item for item in removed if item not in back and not item.is_garbage(run.marks)])
        if is_lost:
            raise RoundLostError("another collector ended this round")

    async def _restore(self, items: Sequence[Item]) -> None:
        run = self._run
        await map_bounded(run.trash.return_blob, [item.digest for item in data_of(items)])
        for link in links_of(items):
            await run.store.storage.write(link.key, link.target.encode("ascii"))
        for item in items:
            run.report.count_removal(item, -1)
            run.report.spared += 1


def _batches_of(items: Sequence[Item]) -> Mapping[Digest, Batches]:
    batches: dict[Digest, Batches] = {}
    for position, item in enumerate(items):
        number = position // BATCH_ITEMS
        known = batches.get(item.digest)
        if known is None or known.last != number:
            batches[item.digest] = Batches(known.first if known else number, number)
    return batches
