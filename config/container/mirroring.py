"""Mirrors: the registries to copy from, and the service that runs the copies."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from yarl import URL

from config.container.schedules import make_lease, make_schedule
from config.settings import MirrorSettings
from core.coordination.budget import Budget, Rates
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.ports.blob_storage import BlobStorage
from core.ports.upstream import Upstream
from core.registry.facade import Registry

if TYPE_CHECKING:
    from core.transfer.mirrors import Mirror, MirrorService


def make_mirror_service(
    mirrors: Sequence[MirrorSettings], registry: Registry, *, storage: BlobStorage, now: Callable[[], datetime]
) -> "MirrorService":
    """Return the service for the configured mirrors. Nothing is contacted before a run."""
    from core.transfer.mirrors import MirrorService  # noqa: PLC0415 - only with mirrors

    return MirrorService(storage, [_mirror(each, registry) for each in mirrors], now=now, sleep=asyncio.sleep)


def make_mirror_schedules(mirrors: Sequence[MirrorSettings], *, storage: BlobStorage) -> Sequence[SharedSchedule]:
    """Return the schedule of each mirror, in the same order."""
    return [make_schedule(each.job, storage=storage, interval_seconds=each.every_seconds) for each in mirrors]


def make_mirror_leases(mirrors: Sequence[MirrorSettings], *, storage: BlobStorage) -> Sequence[Lease]:
    """Return the lease of each mirror for a command, in the same order."""
    return [make_lease(each.job, storage=storage) for each in mirrors]


def _mirror(settings: MirrorSettings, registry: Registry) -> "Mirror":
    from core.transfer.mirrors import Mirror  # noqa: PLC0415 - as above

    rates = Rates(bytes_per_second=settings.bytes_per_second or None)
    return Mirror(
        rules=settings,
        source_name=URL(settings.source).authority,
        new_source=lambda: _upstream(settings),
        registry=registry,
        budget=Budget(rates, clock=time.monotonic, sleep=asyncio.sleep),
    )


def _upstream(settings: MirrorSettings) -> Upstream:
    # Imported only when needed: the web client takes time and memory.
    from adapters.upstream.http import HttpUpstream  # noqa: PLC0415

    return HttpUpstream(URL(settings.source).authority, settings.connection)
