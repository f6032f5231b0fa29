"""Outbox: undelivered events and dead letters, as objects in a storage.

A batch is one object for each endpoint that wants any of its events, with one event per line. The object is written
once, and deleted when all of its events are delivered or dead. After a kill, events may be delivered again, but none is
lost. Its name contains the order, number, size and age of the events, so counting them reads no objects.
"""

import asyncio
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Final

from core.concurrency import map_bounded
from core.errors import ObjectNotFoundError
from core.model.manifest import sendable
from core.notifications.envelope import EventDocument
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.typing import override

_logger = logging.getLogger(__name__)

_BATCH_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest batch that is read. An event with the references of the largest manifest takes 4 MiB."""
_NAMES_AT_ONCE: Final = 500
"""Names to list before other tasks get a turn."""
_REMEMBERED_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of recorded events kept in memory, so that the recording process need not read them to deliver them."""
_NAME: Final = re.compile(r"([0-9]{17})-([0-9a-z]{1,32})-([0-9]{5})-([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class BatchName:
    """Name of a batch of events that were recorded together. Names sort in the order of recording.

    Of two processes on one machine, the one that began to record later has the greater name. Between machines this
    holds as far as their clocks agree. Only the order in which a receiver gets events depends on that, not safety.
    """

    recorded_at: int
    """Microseconds since 1970, greater than in all earlier batches of the process."""
    process: str
    """The process that recorded the batch."""
    number: int
    """Number of events in the batch; for a dead letter, its position in the batch."""
    size: int
    """Size of the events in bytes."""

    @override
    def __str__(self) -> str:
        return f"{self.recorded_at:017d}-{self.process}-{self.number:05d}-{self.size}"

    @property
    def moment(self) -> datetime:
        """Time of recording, by the clock of the recording process."""
        return datetime.fromtimestamp(self.recorded_at / 1e6, UTC)


def parse_name(text: str) -> BatchName | None:
    """Return the name of a batch, or None for any other text."""
    found = _NAME.fullmatch(text)
    return BatchName(int(found[1]), found[2], int(found[3]), int(found[4])) if found else None


def microseconds(moment: datetime) -> int:
    """Return a moment in microseconds since 1970, as in names."""
    return int(moment.timestamp() * 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedEvent:
    """An event in the queue of one endpoint."""

    batch: BatchName
    index: int
    """Position in the batch, from 0."""
    document: EventDocument

    @property
    def id(self) -> str:
        """Identifier by which receivers recognize repeats."""
        return str(self.document["id"])

    @property
    def repository(self) -> str:
        """Repository of the event. Events of one repository are delivered in order."""
        return str(self.document["target"]["repository"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that delivery or upkeep gave up."""

    name: BatchName
    document: EventDocument
    reason: str
    attempts: int
    """Attempts by the process that gave up the event."""


class Outbox:
    """Events of all endpoints. One per process, safe for any number of tasks. Every method may raise `StorageError`.

    Args:
        storage: holds the events; must stay open while the outbox is used.
        process: returns the unique name of this process, in lower-case letters and digits. Called once, in the process
            that uses the outbox: a server creates it before the fork.
        now: UTC-aware; the order between processes depends on how well their clocks agree.
    """

    def __init__(self, storage: BlobStorage, *, process: Callable[[], str], now: Callable[[], datetime]) -> None:
        self._storage = storage
        self._process = cache(process)
        self._now = now
        self._stamp = 0
        self._remembered: OrderedDict[str, bytes] = OrderedDict()
        self._remembered_bytes = 0

    async def record(self, events: Mapping[str, Sequence[EventDocument]]) -> None:
        """Record events for delivery. They are durable on return. One request per endpoint, made concurrently.

        The events of one call, and of successive calls, keep their order. If this method raises, the events of some
        endpoints may be recorded.

        Args:
            events: by endpoint, none of them empty.
        """
        # The time alone is not sufficient: the clock may stand still or go back.
        self._stamp = max(self._stamp + 1, microseconds(self._now()))
        stamp = self._stamp

        async def write(entry: tuple[str, Sequence[EventDocument]]) -> None:
            endpoint, documents = entry
            content = _content(documents)
            key = _queued(endpoint, BatchName(stamp, self._process(), len(documents), len(content)))
            await self._storage.write(key, content)
            self._remember(key, content)

        await map_bounded(write, events.items())

    async def queued(self, endpoint: str, *, limit: int | None = None) -> list[BatchName]:
        """List the undelivered batches, oldest first, at most `limit`. One request per 1,000."""
        return await self._names(f"{layout.NOTIFICATIONS_QUEUED}/{layout.endpoint_component(endpoint)}", limit)

    async def read(self, endpoint: str, batch: BatchName) -> list[QueuedEvent]:
        """Return the events of a batch; empty if the batch is gone. One request, or none right after recording."""
        key = _queued(endpoint, batch)
        content = self._remembered.pop(key, None)
        if content is not None:
            self._remembered_bytes -= len(content)
        else:
            try:
                content = await self._storage.read(key, limit=_BATCH_BYTES_MAX)
            except ObjectNotFoundError:
                return []
        events = [_parse(line) for line in content.split(b"\n")]
        if None in events:
            _logger.error("event skipped: its record cannot be read", extra={"key": key})
        return [
            QueuedEvent(batch=batch, index=index, document=document)
            for index, document in enumerate(events)
            if document is not None
        ]

    async def settle(self, endpoint: str, batches: Iterable[BatchName]) -> None:
        """Remove batches whose events are delivered or dead. Idempotent. One request per 1,000."""
        keys = [_queued(endpoint, batch) for batch in batches]
        for key in keys:
            self._remembered_bytes -= len(self._remembered.pop(key, b""))
        if keys:
            await self._storage.delete(keys)

    async def take_out(self, endpoint: str, batch: BatchName, ids: Collection[str]) -> None:
        """Remove events of a batch permanently; the rest keeps its place.

        A delivery in progress that holds the events in memory may still send them.
        """
        documents = [event.document for event in await self.read(endpoint, batch) if event.id not in ids]
        if documents:
            content = _content(documents)
            rest = replace(batch, number=len(documents), size=len(content))
            # Written before the old batch is removed: a kill in between repeats events but loses none.
            await self._storage.write(_queued(endpoint, rest), content)
        await self.settle(endpoint, [batch])

    async def give_up(self, endpoint: str, events: Iterable[QueuedEvent], *, reason: str, attempts: int = 0) -> None:
        """Turn events into dead letters, with one request each. The caller settles their batch later."""

        async def write(event: QueuedEvent) -> None:
            content = json.dumps({"reason": reason, "attempts": attempts, "event": event.document}, ensure_ascii=False)
            # The name depends only on the event: after a kill, a repeat writes the same object.
            size = len(_line(event.document))
            name = BatchName(event.batch.recorded_at, event.batch.process, event.index, size)
            await self._storage.write(_dead(endpoint, name), sendable(content).encode())

        await map_bounded(write, events)

    async def dead(self, endpoint: str, *, limit: int | None = None) -> list[BatchName]:
        """List the dead letters of an endpoint, oldest event first, at most `limit`. One request per 1,000."""
        return await self._names(f"{layout.NOTIFICATIONS_DEAD}/{layout.endpoint_component(endpoint)}", limit)

    async def dead_letter(self, endpoint: str, name: BatchName) -> DeadLetter | None:
        """Return a dead letter, or None if it is gone or cannot be read. One request."""
        try:
            content = await self._storage.read(_dead(endpoint, name), limit=_BATCH_BYTES_MAX)
            document = json.loads(content)
            return DeadLetter(
                name=name,
                document=_checked(document["event"]),
                reason=document["reason"],
                attempts=document["attempts"],
            )
        except ObjectNotFoundError:
            return None
        except (ValueError, LookupError, TypeError):
            _logger.exception("dead letter cannot be read", extra={"key": _dead(endpoint, name)})
            return None

    async def replay(self, endpoint: str, letters: Sequence[DeadLetter]) -> None:
        """Queue dead letters for delivery after all queued events. A kill may leave some both queued and dead."""
        if letters:
            await self.record({endpoint: [letter.document for letter in letters]})
            await self.drop(endpoint, [letter.name for letter in letters])

    async def drop(self, endpoint: str, names: Iterable[BatchName]) -> None:
        """Delete dead letters permanently. Idempotent. One request per 1,000."""
        keys = [_dead(endpoint, name) for name in names]
        if keys:
            await self._storage.delete(keys)

    async def endpoints(self) -> set[str]:
        """Return all endpoints with queued events or dead letters, configured or not. Two requests."""
        found: set[str] = set()
        for prefix in (layout.NOTIFICATIONS_QUEUED, layout.NOTIFICATIONS_DEAD):
            found |= {layout.endpoint_of(component) async for component in self._storage.list_children(prefix)}
        return found

    async def _names(self, prefix: str, limit: int | None) -> list[BatchName]:
        names: list[BatchName] = []
        async for text in self._storage.list_children(prefix):
            if (name := parse_name(text)) is not None:
                names.append(name)
                if len(names) == limit:
                    break
                if len(names) % _NAMES_AT_ONCE == 0:
                    # Listing a folder never suspends the task, but requests must be served in between.
                    await asyncio.sleep(0)
        return names

    def _remember(self, key: str, content: bytes) -> None:
        self._remembered[key] = content
        self._remembered_bytes += len(content)
        while self._remembered_bytes > _REMEMBERED_BYTES_MAX:
            _, oldest = self._remembered.popitem(last=False)
            self._remembered_bytes -= len(oldest)


def _queued(endpoint: str, batch: BatchName) -> str:
    return f"{layout.NOTIFICATIONS_QUEUED}/{layout.endpoint_component(endpoint)}/{batch}"


def _dead(endpoint: str, name: BatchName) -> str:
    return f"{layout.NOTIFICATIONS_DEAD}/{layout.endpoint_component(endpoint)}/{name}"


def _content(documents: Sequence[EventDocument]) -> bytes:
    return b"\n".join(map(_line, documents))


def _line(document: EventDocument) -> bytes:
    # Without `sendable`, an event that cannot be encoded would block all events written with it.
    return sendable(json.dumps(document, ensure_ascii=False, separators=(",", ":"))).encode()


def _parse(line: bytes) -> EventDocument | None:
    try:
        return _checked(json.loads(line))
    except (ValueError, LookupError, TypeError):
        return None


def _checked(document: EventDocument) -> EventDocument:
    """Return an event if it has the members that delivery requires, else raise `LookupError` or `TypeError`."""
    document["id"], document["action"], document["target"]["repository"]
    return document
