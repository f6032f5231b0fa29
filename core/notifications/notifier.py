"""Delivery to all endpoints, by one of the processes that share an outbox. A lease selects the process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from core.concurrency import map_bounded
from core.coordination.lease import Lease
from core.notifications.delivery import EndpointDelivery
from core.notifications.endpoint import EndpointStats, EventEndpoint
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder, RecorderOptions
from core.notifications.upkeep import Upkeep

_logger = logging.getLogger(__name__)

_UPKEEP_SECONDS: Final = 30.0
"""Interval at which the outbox is counted and kept within bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationStats:
    """Statistics of one process."""

    is_delivering: bool
    """Whether this process delivers."""
    lost: int
    """Events that were dropped before they were recorded, because the buffer was full."""
    endpoints: Sequence[EndpointStats]


class Notifier:
    """Delivers events while it holds the lease. One per process; one task calls `run`.

    Args:
        outbox: the events to deliver.
        recorder: the recorder of this process, which receives the endpoints.
        lease: held by the process that delivers.
        upkeep: keeps the outbox within bounds.
        poll_seconds: interval of checks for events that other processes recorded.
        contend_seconds: interval of attempts to acquire the lease.
        clock: monotonic seconds.
        sleep: suspends the task for the given number of seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        recorder: EventRecorder,
        lease: Lease,
        upkeep: Upkeep,
        *,
        poll_seconds: float,
        contend_seconds: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._outbox = outbox
        self._recorder = recorder
        self._lease = lease
        self._upkeep = upkeep
        self._poll_seconds = poll_seconds
        self._contend_seconds = contend_seconds
        self._clock = clock
        self._sleep = sleep
        self._endpoints: Sequence[EventEndpoint] = ()
        self._changed = asyncio.Event()
        self._counts: dict[str, EndpointStats] = {}
        self._known: dict[str, EndpointStats] = {}
        self._deliveries: Sequence[EndpointDelivery] = ()
        recorder.call_when_recorded(self._wake)

    def use(self, endpoints: Sequence[EventEndpoint], options: RecorderOptions) -> None:
        """Use these endpoints from now on. An endpoint with the name of an earlier one continues its queue."""
        self._endpoints = endpoints
        # Counters must never decrease, so an endpoint that was removed for a while continues its old ones.
        self._counts = {each.name: self._known.setdefault(each.name, EndpointStats(each.name)) for each in endpoints}
        self._recorder.configure(options)
        self._recorder.use(endpoints, self._counts)
        self._changed.set()

    def stats(self) -> NotificationStats:
        """Return the current statistics. Makes no request."""
        return NotificationStats(
            is_delivering=self._lease.is_held,
            lost=self._recorder.lost,
            endpoints=list(self._counts.values()),
        )

    async def run(self) -> None:
        """Acquire the lease and deliver, forever. Without endpoints, wait and make no requests.

        Raises:
            StorageError: the outbox failed; call again after a pause.
        """
        while True:
            self._changed.clear()
            if not self._endpoints:
                await self._changed.wait()
            elif await self._lease.try_acquire():
                async with self._lease.keeping():
                    await self._deliver()
            else:
                await self._sleep(self._contend_seconds)

    async def finish(self, grace_seconds: float) -> None:
        """Deliver as many events as possible within the grace period; the rest stays in the outbox.

        Call this after the last request, when `run` has ended.

        Raises:
            StorageError: the outbox failed.
        """
        # Check for events first: acquiring a lease takes seconds if the store does not support exclusive creation.
        if not await self._has_queued() or not await self._lease.try_acquire():
            return
        try:
            async with asyncio.timeout(grace_seconds), self._lease.keeping(), AsyncExitStack() as stack:
                deliveries = await self._open(stack)
                await map_bounded(_drain, deliveries, at_once=len(deliveries))
        except TimeoutError:
            _logger.info("delivery stopped: undelivered events stay in the outbox")

    async def _has_queued(self) -> bool:
        for endpoint in self._endpoints:
            if await self._outbox.queued(endpoint.name, limit=1):
                return True
        return False

    async def _deliver(self) -> None:
        """Deliver until the lease is lost or the endpoints change."""
        async with AsyncExitStack() as stack:
            self._deliveries = await self._open(stack)
            tasks = [asyncio.create_task(delivery.run(self._poll_seconds)) for delivery in self._deliveries]
            tasks += [asyncio.create_task(self._run_upkeep()), asyncio.create_task(self._wait_for_end())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._deliveries = ()
                for counts in self._counts.values():
                    counts.forget_outbox()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.result()

    async def _open(self, stack: AsyncExitStack) -> Sequence[EndpointDelivery]:
        deliveries = []
        for endpoint in self._endpoints:
            await stack.enter_async_context(endpoint.receiver)
            counts = self._counts[endpoint.name]
            deliveries.append(EndpointDelivery(endpoint, self._outbox, counts, clock=self._clock, sleep=self._sleep))
        return deliveries

    async def _run_upkeep(self) -> None:
        while True:
            for name, counts in self._counts.items():
                await self._upkeep.enforce(name, counts)
            for name in await self._outbox.endpoints() - self._counts.keys():
                # These events are only delivered if the endpoint returns. Otherwise they expire.
                await self._upkeep.enforce(name, EndpointStats(name))
            await self._sleep(_UPKEEP_SECONDS)

    async def _wait_for_end(self) -> None:
        changing = asyncio.create_task(self._changed.wait())
        try:
            while self._lease.is_held and not changing.done():
                await asyncio.wait([changing], timeout=1.0)
        finally:
            changing.cancel()

    def _wake(self) -> None:
        for delivery in self._deliveries:
            delivery.wake()


async def _drain(delivery: EndpointDelivery) -> None:
    while await delivery.deliver_some(tries=1):
        pass
