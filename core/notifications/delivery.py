"""Delivery to one endpoint: in order per repository, concurrently for several repositories, with retries."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.concurrency import map_bounded
from core.notifications.endpoint import EndpointStats, EventEndpoint
from core.notifications.envelope import render_envelope
from core.notifications.outbox import Outbox, QueuedEvent
from core.ports.event_receiver import ReceiverUnavailableError

if TYPE_CHECKING:
    from core.notifications.outbox import BatchName

_logger = logging.getLogger(__name__)

_WINDOW_EVENTS: Final = 256
"""Events held in memory."""
_REPOSITORIES_AT_ONCE: Final = 8
_SETTLED_AT_ONCE: Final = 50
"""Batches that may be delivered but still in the outbox. After a kill, these are delivered twice."""
_RETRY_SECONDS: Final = 0.1
"""Pause after a failure of an endpoint that does not count as down. Distribution makes no pause."""
_TRIES_PER_ROUND: Final = 20
"""Attempts to deliver an event before the queue is read again and the other events are tried."""
_REJECTIONS_MAX: Final = 5
_REJECTION_STATUSES: Final = frozenset({400, 406, 410, 411, 413, 414, 415, 422, 431})
"""Statuses that refer to the event itself: sending it again would have the same result."""


@dataclass(slots=True)
class _History:
    """Failed attempts to deliver an event."""

    others_before: int
    """Number of deliveries before this event failed first."""
    attempts: int = 0
    rejections: int = 0
    answered: int = 0
    reason: str = ""


class EndpointDelivery:
    """Delivers the events that the outbox holds for one endpoint. One per endpoint, in the process that delivers.

    While an endpoint does not respond, its events wait in order. An event becomes a dead letter if the endpoint has
    refused that event five times, or has answered twenty attempts with an error while accepting other events. Repeats
    have the same id.
    """

    def __init__(
        self,
        endpoint: EventEndpoint,
        outbox: Outbox,
        counts: EndpointStats,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self._counts = counts
        self._clock = clock
        self._sleep = sleep
        self._wake = asyncio.Event()
        self._failures_in_a_row = 0
        self._failed_at = 0.0
        self._turn = asyncio.Lock()
        self._held: dict[BatchName, list[QueuedEvent]] = {}
        self._finished: list[BatchName] = []
        self._histories: dict[str, _History] = {}

    def wake(self) -> None:
        """Make `run` check for events at once."""
        self._wake.set()

    async def run(self, poll_seconds: float) -> None:
        """Deliver forever. Check for events every `poll_seconds`, and after each call of `wake`.

        Raises:
            StorageError: the outbox failed; nothing is lost.
        """
        while True:
            self._wake.clear()
            if not await self.deliver_some():
                waking = asyncio.create_task(self._wake.wait())
                sleeping = asyncio.ensure_future(self._sleep(poll_seconds))
                try:
                    await asyncio.wait([waking, sleeping], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waking.cancel()
                    sleeping.cancel()

    async def deliver_some(self, *, tries: int = _TRIES_PER_ROUND) -> bool:
        """Try to deliver the oldest events, each up to `tries` times. Return whether any left the queue.

        Raises:
            StorageError: the outbox failed; nothing is lost.
        """
        await self._settle()
        events = await self._window()
        lanes: dict[str, list[QueuedEvent]] = {}
        for event in events:
            lanes.setdefault(event.repository, []).append(event)
        try:
            moved = await map_bounded(
                lambda lane: self._deliver_lane(lane, tries), lanes.values(), at_once=_REPOSITORIES_AT_ONCE
            )
        finally:
            await self._settle()
        return any(moved)

    async def _window(self) -> list[QueuedEvent]:
        """Return the oldest undelivered events in order, in whole batches."""
        wanted: list[BatchName] = []
        count = 0
        for batch in await self._outbox.queued(self._endpoint.name, limit=_WINDOW_EVENTS):
            if count >= _WINDOW_EVENTS:
                break
            wanted.append(batch)
            count += batch.number
        fresh = [batch for batch in wanted if batch not in self._held]
        contents = await map_bounded(lambda batch: self._outbox.read(self._endpoint.name, batch), fresh)
        self._held |= dict(zip(fresh, contents, strict=True))
        # Batches that were removed from the outbox by another process are not sent.
        self._held = {batch: self._held[batch] for batch in wanted}
        self._finished += [batch for batch, events in self._held.items() if not events]
        window = [event for events in self._held.values() for event in events]
        self._histories = {event.id: self._histories[event.id] for event in window if event.id in self._histories}
        return window

    async def _deliver_lane(self, events: Sequence[QueuedEvent], tries: int) -> bool:
        """Deliver events of one repository, in order. Return whether the first one has left the queue."""
        for position, event in enumerate(events):
            if not await self._deliver(event, tries):
                return position > 0
        return True

    async def _deliver(self, event: QueuedEvent, tries: int) -> bool:
        for _ in range(tries):
            if await self._attempt(event):
                self._histories.pop(event.id, None)
                self._counts.delivered += 1
            elif (reason := self._give_up_reason(event)) is not None:
                await self._give_up(event, reason)
            else:
                continue
            await self._done(event)
            return True
        return False

    async def _attempt(self, event: QueuedEvent) -> bool:
        """Send an event once. Return whether the endpoint accepted it."""
        body = render_envelope(event.document)
        if not self._is_down:
            if event.id in self._histories:
                await self._sleep(min(_RETRY_SECONDS, self._endpoint.backoff_seconds))
            return self._evaluate(event, await self._post(body))
        # While the endpoint is down, trying several repositories at once has no benefit.
        async with self._turn:
            if self._is_down:
                await self._settle()
                await self._sleep(max(0.0, self._failed_at + self._endpoint.backoff_seconds - self._clock()))
            return self._evaluate(event, await self._post(body))

    @property
    def _is_down(self) -> bool:
        return self._failures_in_a_row >= self._endpoint.threshold

    async def _post(self, body: bytes) -> int | str:
        """Return the status, or the reason why there is none."""
        try:
            status = await self._endpoint.receiver.post(body)
        except ReceiverUnavailableError as error:
            return str(error)
        self._counts.statuses[status] += 1
        return status

    def _evaluate(self, event: QueuedEvent, answer: int | str) -> bool:
        if isinstance(answer, int) and 200 <= answer < 400:  # noqa: PLR2004 - as in distribution
            if self._counts.is_down:
                _logger.info("endpoint recovered", extra={"endpoint": self._endpoint.name})
            self._failures_in_a_row = 0
            self._counts.is_down = False
            return True
        history = self._histories.setdefault(event.id, _History(self._counts.delivered))
        history.attempts += 1
        history.answered += isinstance(answer, int)
        history.rejections += answer in _REJECTION_STATUSES
        history.reason = f"status {answer}" if isinstance(answer, int) else answer
        self._fail(history.reason)
        return False

    def _fail(self, reason: str) -> None:
        self._counts.failures += 1
        self._failures_in_a_row += 1
        self._failed_at = self._clock()
        if self._is_down and not self._counts.is_down:
            self._counts.is_down = True
            _logger.warning("endpoint is down: %s", reason, extra={"endpoint": self._endpoint.name})

    def _give_up_reason(self, event: QueuedEvent) -> str | None:
        """Return the reason to give up an event that failed, or None to try again."""
        history = self._histories[event.id]
        if history.rejections >= _REJECTIONS_MAX:
            return f"rejected {history.rejections} times: {history.reason}"
        if history.answered >= _TRIES_PER_ROUND and self._counts.delivered > history.others_before:
            return f"failed {history.answered} times while other events were delivered: {history.reason}"
        return None

    async def _give_up(self, event: QueuedEvent, reason: str) -> None:
        history = self._histories.pop(event.id)
        await self._outbox.give_up(self._endpoint.name, [event], reason=reason, attempts=history.attempts)
        self._counts.buried += 1
        _logger.error(
            "event moved to dead letters: %s", reason, extra={"endpoint": self._endpoint.name, "event": event.id}
        )

    async def _done(self, event: QueuedEvent) -> None:
        rest = self._held[event.batch]
        rest.remove(event)
        if not rest:
            self._finished.append(event.batch)
            if len(self._finished) >= _SETTLED_AT_ONCE:
                await self._settle()

    async def _settle(self) -> None:
        finished, self._finished = self._finished, []
        try:
            await self._outbox.settle(self._endpoint.name, finished)
        except BaseException:
            self._finished += finished
            raise
