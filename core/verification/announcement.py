"""Telling servers that blobs were set aside, so that none says from its memory that they are there.

It is done as garbage collection does it: a round names the digests, and whoever serves drops what it remembers of them
as soon as it sees the round. Nothing is removed under it, so no push waits for it.
"""

from collections.abc import Awaitable, Callable, Sequence

from core.collection.guard import SETTLE_SECONDS
from core.collection.rounds import Batches, Rounds
from core.digest import Digest


class Announcements:
    """The rounds of one verification, which stay until all servers have seen them.

    Args:
        rounds: where they are written.
        clock: monotonic seconds.
        sleep: waits.
        new_id: makes unique texts of letters, digits and `-`.
        settle_seconds: what servers of this store count on that a round lasts; the same for all processes.
        is_needed: whether servers remember what is in storage at all.
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
        """Tell that these blobs are gone. One storage request; returns before everybody knows."""
        if not self._is_needed:
            return
        round_id = f"verification-{self._new_id()}"
        await self._rounds.begin(round_id, dict.fromkeys(digests, Batches(0, 0)), settle_seconds=self._settle_seconds)
        self._open.append(round_id)
        self._last_at = self._clock()

    async def finish(self) -> None:
        """Wait until every server has looked since the last announcement, then take all of them back."""
        if not self._open:
            return
        await self._sleep(max(0.0, self._last_at + self._settle_seconds - self._clock()))
        for round_id in self._open:
            await self._rounds.end(round_id)
        self._open.clear()
