"""The state of the registry for operators: collection, trash, read-only mode and upstreams."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.concurrency import map_bounded
from core.coordination.job_state import JobState
from core.ports.upstream import UpstreamQuota
from core.usage.records import StoredMeasurement
from entrypoints.http.site import SiteParts


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamState:
    """An upstream of the cache."""

    name: str
    prefix: str
    """The first part of the names of its repositories; empty for all others."""
    quota: UpstreamQuota | None
    """The pulls that the upstream still allowed at its last answer to this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateNow:
    """The state at the time of the request."""

    collection: JobState
    next_collection: datetime | None
    read_only: str | None
    """The reason of read-only mode; None if changes are accepted."""
    usage: Mapping[str, Any] | None
    """The last measurement of storage use (`StoreUsage.as_json`); None if there is none."""
    measured_at: datetime | None
    upstreams: Sequence[UpstreamState]


class RegistryState:
    """Reads the state of the registry."""

    def __init__(self, parts: SiteParts) -> None:
        self._operations = parts.operations
        self._flags = parts.flags
        self._origins = parts.origins

    async def look(self) -> StateNow:
        """Return the state. At most 12 storage requests, mostly four, at the same time."""
        operations = self._operations
        switch = operations.read_only
        reads: Sequence[Callable[[], Awaitable[Any]]] = (
            operations.collection.state,
            operations.usage_records.last,
            switch.look,
        )
        collection, measured, _ = await map_bounded(lambda read: read(), reads)
        reason = switch.mode.reason if switch.mode else self._flags.configured_reason
        return StateNow(
            collection=collection,
            next_collection=operations.collection.next_at(collection),
            read_only=reason,
            usage=measured.store if measured else None,
            measured_at=measured_at(measured),
            upstreams=[
                UpstreamState(name=upstream.name, prefix=rules.prefix, quota=upstream.quota)
                for rules, upstream in self._origins.upstreams
            ],
        )


def measured_at(measured: StoredMeasurement | None) -> datetime | None:
    """Return the time of a measurement, by the store's clock."""
    return datetime.fromisoformat(measured.store["measuredAt"]) if measured else None
