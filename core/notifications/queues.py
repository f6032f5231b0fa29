"""The state of the queues in an outbox, and the repetition of dead letters, for operators."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.concurrency import map_bounded, slices
from core.notifications.outbox import BatchName, DeadLetter, Outbox

COUNTED_MAX: Final = 10_000
"""Maximum number of batches, and of dead letters, that are counted for one endpoint."""
_REPLAYED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The undelivered events of one endpoint, in numbers."""

    endpoint: str
    queued: int
    """Events that wait for delivery."""
    queued_since: datetime | None
    """When the oldest of them was recorded."""
    dead: int
    """Events that delivery gave up."""
    dead_since: datetime | None
    """When the oldest of them was recorded."""
    is_complete: bool = True
    """Whether all events are counted."""


async def queue_state(outbox: Outbox, endpoint: str) -> QueueState:
    """Return the state of one endpoint's queue. Reads no event; two requests, and one more per 1,000 objects."""
    queued = await outbox.queued(endpoint, limit=COUNTED_MAX)
    dead = await outbox.dead(endpoint, limit=COUNTED_MAX)
    return QueueState(
        endpoint=endpoint,
        queued=sum(name.number for name in queued),
        queued_since=queued[0].moment if queued else None,
        dead=len(dead),
        dead_since=dead[0].moment if dead else None,
        is_complete=len(queued) < COUNTED_MAX and len(dead) < COUNTED_MAX,
    )


async def replay(
    outbox: Outbox, endpoint: str, names: Sequence[BatchName], *, ids: Collection[str] | None = None
) -> int:
    """Queue dead letters of an endpoint for delivery; return their number.

    Args:
        outbox: the outbox.
        endpoint: the name of the endpoint.
        names: the dead letters.
        ids: only the events with these ids; None for all events.
    """

    async def read(name: BatchName) -> DeadLetter | None:
        return await outbox.dead_letter(endpoint, name)

    count = 0
    for some in slices(names, _REPLAYED_AT_ONCE):
        letters = [letter for letter in await map_bounded(read, some) if letter is not None]
        chosen = [letter for letter in letters if ids is None or letter.document["id"] in ids]
        await outbox.replay(endpoint, chosen)
        count += len(chosen)
    return count
