"""Ending the rounds of collectors that died: what was spared comes back, the rest stays where it was put."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from core.collection.rounds import Rounds
from core.collection.spares import Spares
from core.concurrency import map_bounded
from core.errors import ObjectNotFoundError
from core.ports.blob_storage import BlobStorage
from core.trash import Trash

_logger = logging.getLogger(__name__)

DEAD_SECONDS: Final = 120.0
"""After so long without a sign of life, measured by our own clock, a collector counts as dead."""
_LOOK_SECONDS: Final = 5.0


class Recovery:
    """Ends abandoned rounds; used by one task."""

    def __init__(
        self,
        storage: BlobStorage,
        *,
        rounds: Rounds,
        spares: Spares,
        trash: Trash,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._rounds = rounds
        self._spares = spares
        self._trash = trash
        self._clock = clock
        self._sleep = sleep

    async def end_abandoned(self, *, patience_seconds: float = DEAD_SECONDS) -> int:
        """End the rounds that nobody works on, and return how many those were.

        Costs one request where there is none; otherwise it looks until each has ended, moved, or stood still for
        `patience_seconds`.
        """
        began_at = self._clock()
        before = await self._rounds.states()
        waiting = set(before)
        while waiting:
            now = await self._rounds.states()
            waiting = {each for each in waiting if each in now and now[each].signs == before[each].signs}
            if self._clock() - began_at < patience_seconds:
                await self._sleep(_LOOK_SECONDS)
                continue
            for round_id in waiting:
                await self._end(round_id)
            return len(waiting)
        return 0

    async def _end(self, round_id: str) -> None:
        _logger.warning("the round of a collector that died is ended", extra={"round": round_id})
        spared = set(await self._spares.all())
        async for part in self._trash.parts(round_id):
            await map_bounded(self._trash.return_blob, [digest for digest in part.blobs if digest in spared])
            for link in part.links:
                if link.target in spared and not await self._is_there(link.key):
                    await self._storage.write(link.key, link.target.encode("ascii"))
        await self._rounds.end(round_id)
        if not self._trash.is_on:
            await self._trash.discard(round_id)

    async def _is_there(self, key: str) -> bool:
        try:
            await self._storage.stat(key)
        except ObjectNotFoundError:
            return False
        return True
