"""Garbage collection in the server: observation of other collectors, and scheduled collections."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from config.settings import GarbageCollectionSettings
from core.collection.guard import CollectionGuard
from core.collection.recovery import RoundWatch
from core.collection.report import CollectionReport, ignore
from core.collection.run import CollectionOptions, Hook
from core.coordination.budget import Rates
from core.coordination.schedule import SharedSchedule
from core.model.events import Actor
from entrypoints.collection_run import new_collector, progress_fields, report_fields
from entrypoints.jobs.background import Job
from entrypoints.jobs.folding import summary_hooks
from entrypoints.jobs.retention import retention_hooks
from entrypoints.jobs.shared import shared_job

if TYPE_CHECKING:
    from config.container import RegistryApplication, ServerApplication

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
"""Interval at which a process checks whether a run is due; `registry garbage-collect --in-server` makes one due."""
WAIT_SECONDS: Final = 3.0
"""Interval of the checks while another replica collects; if that one dies, this one takes over within 30 seconds."""


def hooks_of(application: "RegistryApplication", *, by: Actor) -> tuple[Hook, ...]:
    """Return the hooks of every collection: retention, and the removal of old summaries."""
    return retention_hooks(application.registry, by=by) + summary_hooks(application)


def watch_job(guard: CollectionGuard) -> Job:
    """Return the job, run by every process, that reads which content collectors are about to remove."""
    return Job(name="garbage-collection watch", run=guard.poll, every=guard.poll_seconds)


def collection_job(
    application: "ServerApplication",
    settings: GarbageCollectionSettings,
    *,
    before: Sequence[Hook] = (),
    observe: Callable[[CollectionReport], None] = ignore,
) -> Job:
    """Return the collection job; every replica schedules it, and each run is done by one of them.

    Args:
        application: the registry.
        settings: interval, limits and options of the runs.
        before: hooks that run before the search for garbage.
        observe: called with the progress of a run, for metrics.
    """
    schedule, watch = application.collection_schedule, application.collection_watch
    work = collection_work(application, settings, schedule, before=before, observe=observe, watch=watch)

    async def wait() -> None:
        await watch.look()
        await asyncio.sleep(WAIT_SECONDS)

    return shared_job(
        schedule,
        work,
        name="garbage collection",
        interval_seconds=settings.interval_seconds,
        look_seconds=LOOK_SECONDS,
        wait=wait,
    )


def collection_work(
    application: "RegistryApplication",
    settings: GarbageCollectionSettings,
    schedule: SharedSchedule,
    *,
    before: Sequence[Hook] = (),
    observe: Callable[[CollectionReport], None] = ignore,
    watch: RoundWatch | None = None,
) -> Callable[[], Awaitable[Mapping[str, object]]]:
    """Return the function that does one run and returns its counts.

    Args:
        application: the registry.
        settings: limits and options of the run.
        schedule: holds the lease of the run.
        before: hooks that run before the search for garbage.
        observe: called with the progress of the run, for metrics.
        watch: observations of another collector's rounds.
    """

    def note(report: CollectionReport) -> None:
        observe(report)
        schedule.note(progress_fields(report))

    async def work() -> Mapping[str, object]:
        collector = new_collector(
            application,
            options_of(settings),
            rates=Rates(
                requests_per_second=settings.requests_per_second or None,
                bytes_per_second=settings.bytes_per_second or None,
            ),
            observe=note,
            goes_on=lambda: schedule.is_held,
            before=before,
            watch=watch,
        )
        report = await collector.run()
        _log_report(report)
        return report_fields(report)

    return work


def options_of(settings: GarbageCollectionSettings) -> CollectionOptions:
    """Return the options of a run from the settings."""
    return CollectionOptions(
        grace=timedelta(seconds=settings.grace_seconds),
        deletes_untagged=settings.deletes_untagged,
        is_dry_run=settings.dry_run,
        settle_seconds=settings.settle_seconds,
    )


def _log_report(report: CollectionReport) -> None:
    for problem in report.problems:
        _logger.warning("garbage collection: problem: %s", problem)
    if report.blobs_held:
        _logger.warning(
            "blobs kept: unreadable names in the store may refer to them: run `registry garbage-collect` to list them",
            extra={"names": report.unreadable, "blobs": report.blobs_held, "bytes": report.bytes_held},
        )
    text = "garbage would be removed" if report.is_dry_run else "garbage collected"
    _logger.info(text, extra=report_fields(report))
