"""Recording of events.

By default, events of pushes, mounts and deletes are durable before the request is answered. Events of pulls wait in
memory and are recorded in groups.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final, Generic, TypeVar

from core.errors import StorageError
from core.model.events import EventAction, Occurrence, Origin
from core.notifications.endpoint import EndpointStats, EventEndpoint
from core.notifications.envelope import EnvelopeType, EventDocument, event_document
from core.notifications.outbox import Outbox
from core.ports.event_sink import EventSink
from core.typing import override

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_BUFFERED_MAX: Final = 10_000
"""Maximum number of events that wait in memory to be recorded; about a kilobyte each."""
GROUP_ITEMS_MAX: Final = 500
"""Maximum number of items in one write, unless a single caller adds more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderOptions:
    """Options for events, other than the endpoints."""

    envelope: EnvelopeType = EnvelopeType.V1
    include_references: bool = False
    is_required: bool = True
    """Whether to refuse a push, mount or delete whose event cannot be recorded. If not, the request succeeds, and its
    event waits in memory until the outbox works again.
    """


_Addressed = tuple[EventDocument, frozenset[str]]
"""An event, and the names of the endpoints that want it."""


class EventRecorder(EventSink):
    """Event sink of a process that has endpoints. One per process.

    Args:
        outbox: where events are recorded.
        options: the operator's options.
        source: returns `addr` and `instanceID` of this process. Called once, in the process that records: a server
            creates the recorder before the fork.
        now: UTC-aware.
        new_id: returns the ids of events.
    """

    def __init__(
        self,
        outbox: Outbox,
        options: RecorderOptions,
        *,
        source: Callable[[], Mapping[str, str]],
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._outbox = outbox
        self._options = options
        self._source = cache(source)
        self._now = now
        self._new_id = new_id
        self._endpoints: Sequence[EventEndpoint] = ()
        self._counts: Mapping[str, EndpointStats] = {}
        self._commit = GroupCommit(self._record)
        self._buffer: deque[_Addressed] = deque()
        self._on_recorded: Callable[[], None] = lambda: None
        self.lost = 0
        """Events that were dropped because the buffer was full."""

    def use(self, endpoints: Sequence[EventEndpoint], counts: Mapping[str, EndpointStats] | None = None) -> None:
        """Record events for these endpoints from now on, and count them in `counts` by name. The names must differ."""
        self._endpoints = endpoints
        self._counts = counts or {}

    @property
    def endpoint_names(self) -> frozenset[str]:
        """The names of the endpoints."""
        return frozenset(endpoint.name for endpoint in self._endpoints)

    def call_when_recorded(self, on_recorded: Callable[[], None]) -> None:
        """Set the callback that is called after events were recorded."""
        self._on_recorded = on_recorded

    def configure(self, options: RecorderOptions) -> None:
        """Use these options from now on."""
        self._options = options

    @override
    def wants(self, action: EventAction, media_type: str = "") -> bool:
        return any(endpoint.wants(action, media_type) for endpoint in self._endpoints)

    @property
    @override
    def wants_references(self) -> bool:
        return self._options.include_references

    @override
    async def emit(self, occurrences: Sequence[Occurrence], origin: Origin) -> None:
        urgent: list[_Addressed] = []
        for occurrence in occurrences:
            wanted_by = frozenset(
                each.name for each in self._endpoints if each.wants(occurrence.action, occurrence.media_type)
            )
            if not wanted_by:
                continue
            addressed = (self._document(occurrence, origin), wanted_by)
            if occurrence.action is EventAction.PULL:
                self._keep(addressed)
            else:
                urgent.append(addressed)
        if urgent:
            await self._record_now(urgent)

    async def flush(self) -> None:
        """Record the events that wait in memory. Called about once a second, and before the process ends.

        Raises:
            StorageError: the outbox failed; the events that were not recorded keep waiting.
        """
        while self._buffer:
            group = [self._buffer.popleft() for _ in range(min(len(self._buffer), GROUP_ITEMS_MAX))]
            try:
                await self._commit.add(group)
            except BaseException:
                self._buffer.extendleft(reversed(group))
                raise

    def _document(self, occurrence: Occurrence, origin: Origin) -> EventDocument:
        return event_document(
            occurrence,
            origin,
            event_id=self._new_id(),
            happened_at=self._now(),
            source=self._source(),
            envelope=self._options.envelope,
        )

    async def _record_now(self, events: Sequence[_Addressed]) -> None:
        try:
            await self._commit.add(events)
        except StorageError as error:
            if self._options.is_required:
                raise
            _logger.error("outbox unavailable, events kept in memory: %s", error)  # noqa: TRY400 - no traceback for a storage error
            for event in events:
                self._keep(event)

    async def _record(self, events: Sequence[_Addressed]) -> None:
        by_endpoint: dict[str, list[EventDocument]] = {}
        for document, names in events:
            for name in names:
                by_endpoint.setdefault(name, []).append(document)
        await self._outbox.record(by_endpoint)
        for name, documents in by_endpoint.items():
            if (counts := self._counts.get(name)) is not None:
                counts.recorded += len(documents)
        self._on_recorded()

    def _keep(self, event: _Addressed) -> None:
        if len(self._buffer) >= _BUFFERED_MAX:
            if not self.lost:
                _logger.error("events lost: too many are waiting to be recorded")
            self.lost += 1
            return
        self._buffer.append(event)


class GroupCommit(Generic[T]):
    """Writes items in the order of their arrival, one write at a time. One per destination.

    Args:
        write: makes a group of items durable, either all or none of them.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[Sequence[T], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, items: Sequence[T]) -> None:
        """Add items, and return when they are durable. If the caller is cancelled, the items are still written.

        Raises:
            Exception: the error from writing the group, which may include items of other callers.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._take_group()
            try:
                await self._write([item for items, _ in group for item in items])
            except Exception as error:  # noqa: BLE001 - every waiting caller gets the error
                for _, done in group:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in group:
                    if not done.done():
                        done.set_result(None)
        # No await separates this line from the loop condition, so no items are left waiting.
        self._writer = None

    def _take_group(self) -> list[tuple[Sequence[T], "asyncio.Future[None]"]]:
        size, taken = 0, 0
        for items, _ in self._waiting:
            size += len(items)
            if taken and size > GROUP_ITEMS_MAX:
                break
            taken += 1
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group
