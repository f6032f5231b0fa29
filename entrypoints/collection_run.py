"""Construction of a garbage collector, shared by the command and the server."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from core.collection.recovery import RoundWatch
from core.collection.report import CollectionObserver, CollectionReport
from core.collection.run import CollectionOptions, CollectorContext, Hook
from core.coordination.budget import Budget, Rates

if TYPE_CHECKING:
    from config.container import RegistryApplication
    from core.collection.collector import Collector

_KEY_BYTES: Final = 16


def new_collector(
    application: "RegistryApplication",
    options: CollectionOptions,
    *,
    rates: Rates,
    observe: CollectionObserver,
    goes_on: Callable[[], bool],
    before: Sequence[Hook] = (),
    watch: RoundWatch | None = None,
) -> "Collector":
    """Return a collector for one run over the store of `application`, which is open.

    Args:
        application: the registry.
        options: the requested kind of collection.
        rates: limits on requests to the store and on bytes read.
        observe: called with the progress of the run.
        goes_on: called regularly; False ends the run early.
        before: hooks that run before the search for garbage.
        watch: observations of another collector's rounds, made while this process waited for the lease.
    """
    from core.collection.collector import Collector  # noqa: PLC0415 - a server imports it with the first run

    return Collector(
        application.storage,
        links=application.links,
        trash=application.trash,
        cache=application.descriptor_cache,
        budget=Budget(rates, clock=time.monotonic, sleep=asyncio.sleep),
        options=options,
        context=CollectorContext(
            clock=time.monotonic,
            sleep=asyncio.sleep,
            new_key=lambda: secrets.token_bytes(_KEY_BYTES),
            observe=observe,
            goes_on=goes_on,
            before=before,
            forget_repository=application.registry.catalog.record_removal,
            watch=watch,
            store_clock=application.store_clock,
            offload=application.offload,
        ),
    )


def progress_fields(report: CollectionReport) -> dict[str, object]:
    """Return the progress of a running collection, for its lease (see `Lease.note`)."""
    names = ("repositories", "repositories_total", "round_done", "round_items", "blobs_removed", "bytes_removed")
    return {"phase": report.phase.value} | {name: getattr(report, name) for name in names}


def report_fields(report: CollectionReport) -> dict[str, float | str]:
    """Return the counts of a report as fields for a log line."""
    names = (
        *("repositories", "manifests", "tags", "blobs", "manifests_removed", "layer_links_removed"),
        *("other_links_removed", "blobs_removed", "bytes_removed", "spared", "blobs_held", "problem_count"),
    )
    return {"phase": report.phase.value, "seconds": round(report.seconds, 1)} | {
        name: getattr(report, name) for name in names
    }
