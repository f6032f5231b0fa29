"""Upkeep of the cache: eviction when a limit is reached, and prefetching of configured images."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from config.settings import ProxySettings
from core.coordination.schedule import SharedSchedule
from core.pull_through.admission import LimitedAdmission
from core.pull_through.eviction import EvictionReport
from core.pull_through.limits import PrefetchRule
from core.pull_through.prefetching import Prefetcher
from entrypoints.cache_run import new_evictor, new_limit_keeper, new_warmer
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import shared_job

if TYPE_CHECKING:
    from config.container import ServerApplication

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 600.0
"""Interval at which a process checks whether an eviction is due."""
PATIENCE_SECONDS: Final = 15.0
"""Minimum interval between two evictions that a process starts because the cache is full."""
_POLL_SECONDS: Final = 1.0


def eviction_job(
    application: "ServerApplication",
    proxy: ProxySettings,
    *,
    observe: Callable[[EvictionReport], None],
    clock: Callable[[], float] = time.monotonic,
) -> Job:
    """Return the eviction job. Every process schedules it, and runs it early if it has no room for content.

    Args:
        application: the registry.
        proxy: the settings of the cache.
        observe: called after each eviction, for metrics.
        clock: monotonic seconds.
    """
    schedule = application.eviction_schedule
    admission = application.pull_through.admission if application.pull_through else None
    evictor = new_evictor(application, proxy, goes_on=lambda: schedule.is_held)
    keeper = new_limit_keeper(application, proxy, evictor)
    # A random delay spreads the checks of processes that start together.
    next_look = clock() + secrets.randbelow(int(LOOK_SECONDS))
    next_urgent = clock()

    async def work(_now: datetime) -> str:
        demand = admission.take_demand() if isinstance(admission, LimitedAdmission) else 0
        report = await keeper.enforce(demand=demand)
        if report is not None:
            observe(report)
            _log(report)
        return ""

    async def run() -> None:
        nonlocal next_look, next_urgent
        wanted = admission.wanted if isinstance(admission, LimitedAdmission) else None
        is_urgent = wanted is not None and wanted.is_set() and clock() >= next_urgent
        if not is_urgent and clock() < next_look:
            return
        try:
            await schedule.run_if_due(work, is_urgent=is_urgent)
        finally:
            next_urgent, next_look = clock() + PATIENCE_SECONDS, clock() + LOOK_SECONDS

    return Job(name="cache eviction", run=run, every=_POLL_SECONDS, is_upkeep=True)


def prefetch_jobs(
    application: "ServerApplication", rules: Sequence[PrefetchRule], *, observe: Callable[[str], None]
) -> Sequence[Job]:
    """Return the job of each rule; every replica schedules it, and each run is done by one of them.

    Args:
        application: the registry.
        rules: the rules of the configuration.
        observe: called with the image of a rule after each run without failures.
    """
    prefetcher = Prefetcher(application.origins, new_warmer(application), observe=observe)
    return [
        shared_job(
            schedule,
            partial(_prefetch, prefetcher, rule, schedule),
            name=f"prefetching of {rule.image}",
            interval_seconds=rule.every_seconds,
        )
        for rule, schedule in zip(rules, application.prefetch_schedules, strict=True)
    ]


async def _prefetch(prefetcher: Prefetcher, rule: PrefetchRule, schedule: SharedSchedule) -> Mapping[str, object]:
    report = await prefetcher.run(rule, goes_on=lambda: schedule.is_held)
    counts = {
        "images": report.images,
        "failed": report.failed,
        "blobs": report.blobs_fetched,
        "bytes": report.bytes_fetched,
    }
    _logger.info("images prefetched", extra={"image": rule.image, **counts})
    return counts


def _log(report: EvictionReport) -> None:
    if report.images:
        counts = {
            "images": len(report.images),
            "spared": report.spared,
            "bytes_removed": report.bytes_removed,
            "bytes_before": report.size_before,
            "bytes": report.size,
        }
        _logger.info("images evicted from the cache", extra=counts)
