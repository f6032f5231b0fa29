"""Upkeep of the outbox: events that are too old or too many are given up. Every loss is logged."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from core.notifications.endpoint import EndpointStats
from core.notifications.outbox import BatchName, Outbox, microseconds

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of the outbox for each endpoint."""

    bytes_max: int
    """Bytes of events and dead letters together. Dead letters are dropped first, then events, the oldest first."""
    age_max: timedelta
    """Age at which an undelivered event becomes a dead letter."""
    dead_age_max: timedelta
    """Age at which a dead letter is dropped, counted from the recording of its event."""


class Upkeep:
    """Keeps the outbox of all endpoints within bounds. One instance, in the process that delivers."""

    def __init__(self, outbox: Outbox, bounds: Bounds, *, now: Callable[[], datetime]) -> None:
        self._outbox = outbox
        self._bounds = bounds
        self._now = now

    async def enforce(self, endpoint: str, counts: EndpointStats) -> None:
        """Count the events and dead letters of an endpoint, and enforce the bounds.

        One listing request per 1,000 batches and dead letters.

        Raises:
            StorageError: the outbox failed.
        """
        now = self._now()
        queued = await self._outbox.queued(endpoint)
        queued = await self._give_up(endpoint, _before(queued, now - self._bounds.age_max), queued, counts)
        dead = await self._outbox.dead(endpoint)
        too_old = _before(dead, now - self._bounds.dead_age_max)
        dead = dead[len(too_old) :]
        excess = sum(name.size for name in [*queued, *dead]) - self._bounds.bytes_max
        extra_dead, excess = _oldest(dead, excess)
        extra_queued, excess = _oldest(queued, excess)
        await self._outbox.drop(endpoint, [*too_old, *extra_dead])
        await self._outbox.settle(endpoint, extra_queued)
        self._count_dropped(endpoint, counts, letters=len(too_old) + len(extra_dead), lost=extra_queued)
        _count(counts, queued[len(extra_queued) :], dead[len(extra_dead) :], now)

    async def _give_up(
        self, endpoint: str, old: Sequence[BatchName], queued: list[BatchName], counts: EndpointStats
    ) -> list[BatchName]:
        """Turn the oldest batches into dead letters. Return the others."""
        for batch in old:
            events = await self._outbox.read(endpoint, batch)
            await self._outbox.give_up(endpoint, events, reason="not delivered in time")
            await self._outbox.settle(endpoint, [batch])
            counts.buried += len(events)
        if old:
            _logger.error(
                "events moved to dead letters: not delivered in time",
                extra={"endpoint": endpoint, "batches": len(old)},
            )
        return queued[len(old) :]

    def _count_dropped(self, endpoint: str, counts: EndpointStats, *, letters: int, lost: Sequence[BatchName]) -> None:
        events = sum(batch.number for batch in lost)
        counts.dropped += letters + events
        if letters or events:
            _logger.error(
                "events or dead letters dropped: too many or too old",
                extra={"endpoint": endpoint, "dead_letters": letters, "events": events},
            )


def _before(names: Sequence[BatchName], moment: datetime) -> list[BatchName]:
    """Return the names recorded before a moment. `names` must be sorted, the oldest first."""
    limit = microseconds(moment)
    return list(takewhile(lambda name: name.recorded_at < limit, names))


def _oldest(names: Sequence[BatchName], excess: int) -> tuple[Sequence[BatchName], int]:
    """Return the oldest names whose sizes add up to `excess`, or all names, and the excess that remains."""
    taken = 0
    while excess > 0 and taken < len(names):
        excess -= names[taken].size
        taken += 1
    return names[:taken], excess


def _count(counts: EndpointStats, queued: Sequence[BatchName], dead: Sequence[BatchName], now: datetime) -> None:
    counts.queued = sum(batch.number for batch in queued)
    counts.queued_bytes = sum(batch.size for batch in queued)
    counts.lag_seconds = max(0.0, (now - queued[0].moment).total_seconds()) if queued else 0.0
    counts.dead = len(dead)
    counts.dead_bytes = sum(name.size for name in dead)
