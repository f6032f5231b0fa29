"""Announcement of quarantined blobs, so that no server reports them as existing from its cache.

As in garbage collection, a round lists the digests, and each server drops its cached entries when it sees the round.
Nothing is removed under such a round, so no push waits for it.
"""

from collections.abc import Awaitable, Callable, Sequence

from core.collection.guard import SETTLE_SECONDS
from core.collection.rounds import Batches, Rounds
from core.model.digest import Digest


class QuarantineAnnouncements:
    """The rounds of one verification. They last until all servers have seen them.

    Args:
        rounds: writes the rounds.
        clock: monotonic seconds.
        sleep: suspends the task for the given number of seconds.
        new_id: returns unique texts of letters, digits and `-`.
        settle_seconds: how long servers of this store expect a round to last; the same for all processes.
        is_needed: whether servers cache anything about the store.
    """

    def __init__(
        self,
        rounds: Rounds,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        new_id: Callable[[], str],
        settle_seconds: float = SETTLE_SECONDS,
        is_needed: bool = True,
    ) -> None:
        self._rounds = rounds
        self._clock = clock
        self._sleep = sleep
        self._new_id = new_id
        self._settle_seconds = settle_seconds
        self._is_needed = is_needed
        self._open: list[str] = []
        self._last_at = 0.0

    async def announce(self, digests: Sequence[Digest]) -> None:
        """Announce that these blobs are gone. One storage request; returns before all servers have seen the round."""
        if not self._is_needed:
            return
        round_id = f"verification-{self._new_id()}"
        await self._rounds.begin(round_id, dict.fromkeys(digests, Batches(0, 0)), settle_seconds=self._settle_seconds)
        self._open.append(round_id)
        self._last_at = self._clock()

    async def finish(self) -> None:
        """Wait until every server has seen the last announcement, then end all rounds."""
        if not self._open:
            return
        await self._sleep(max(0.0, self._last_at + self._settle_seconds - self._clock()))
        for round_id in self._open:
            await self._rounds.end(round_id)
        self._open.clear()
