"""Recovery from collectors that died: ends their rounds and restores pinned content. The rest stays in the trash."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from core.collection.pins import Pins
from core.collection.rounds import Rounds, RoundState
from core.concurrency import map_bounded
from core.ports.blob_storage import BlobStorage
from core.store.objects import find
from core.trash.entry import TrashKind, kind_of
from core.trash.store import Trash

_logger = logging.getLogger(__name__)

DEAD_SECONDS: Final = 20.0
"""Seconds without a heartbeat, by this process's clock, after which a collector counts as dead."""
_UNCHANGED_SECONDS: Final = 120.0
"""The same for a round without heartbeats: the round of a verification must last for a settle time."""
_POLL_SECONDS: Final = 2.5


class RoundWatch:
    """Tracks how long each round has been unchanged, as observed by one process; used by one task.

    A replica that waits for a collector's lease watches the rounds, so that the time before it obtains the lease counts
    too.
    """

    def __init__(self, rounds: Rounds, *, clock: Callable[[], float]) -> None:
        self._rounds = rounds
        self._clock = clock
        self._seen: dict[str, tuple[RoundState, float]] = {}

    async def look(self) -> Mapping[str, float]:
        """Return how many seconds each round is overdue; negative until the round is abandoned. One storage request."""
        began_at = self._clock()
        states = await self._rounds.states()
        ended_at = self._clock()
        last, self._seen = self._seen, {}
        overdue: dict[str, float] = {}
        for round_id, state in states.items():
            known, since = last.get(round_id, (None, ended_at))
            if known is None or known.signs != state.signs:
                since = ended_at
            self._seen[round_id] = state, since
            # A lower bound: from the end of the first listing with this state to the start of the latest one.
            overdue[round_id] = began_at - since - (DEAD_SECONDS if state.has_pulse else _UNCHANGED_SECONDS)
        return overdue


class Recovery:
    """Ends abandoned rounds; used by one task."""

    def __init__(
        self,
        storage: BlobStorage,
        *,
        rounds: Rounds,
        pins: Pins,
        trash: Trash,
        sleep: Callable[[float], Awaitable[None]],
        watch: RoundWatch,
    ) -> None:
        self._storage = storage
        self._rounds = rounds
        self._pins = pins
        self._trash = trash
        self._sleep = sleep
        self._watch = watch

    async def end_abandoned(self, *, waits: bool = True) -> int:
        """End the abandoned rounds, and return their number.

        Costs one storage request if there are no rounds. Otherwise this method lists the rounds until each one has
        ended, has changed, or has been unchanged for long enough. Without `waits`, all rounds count as abandoned.
        """
        waiting = await self._watch.look()
        while waits and any(overdue < 0 for overdue in waiting.values()):
            await self._sleep(_POLL_SECONDS)
            now = await self._watch.look()
            # A round that is less overdue than before has changed.
            waiting = {each: now[each] for each in waiting if each in now and now[each] > waiting[each]}
        for round_id in waiting:
            await self._end(round_id)
        return len(waiting)

    async def _end(self, round_id: str) -> None:
        _logger.warning("abandoned round ended", extra={"round": round_id})
        pinned = set(await self._pins.all())
        async for part in self._trash.parts(round_id):
            await map_bounded(self._trash.return_blob, [digest for digest in part.blobs if digest in pinned])
            for link in part.links:
                if link.target in pinned and await find(self._storage, link.key) is None:
                    await self._storage.write(link.key, link.target.encode("ascii"))
        await self._rounds.end(round_id)
        if not self._trash.is_on or kind_of(round_id) is TrashKind.EVICTION:
            await self._trash.discard(round_id)
