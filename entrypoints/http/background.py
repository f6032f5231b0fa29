"""What runs beside the requests, from the start of the application to its end: upkeep that nobody waits for."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from core.errors import StorageError
from core.registry import Registry
from core.services.catalog import CatalogService

_logger = logging.getLogger(__name__)

CATALOG_RETRY_SECONDS: Final = 5.0
"""How soon a name that the catalog's index missed is written again."""
CATALOG_START_SECONDS: Final = 3.0
"""How long the port stays closed for a catalog that is being filled, or whose index does not answer."""
CATALOG_START_RETRY_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 1.0
"""How long what a finished upload leaves in storage may lie there."""


async def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to do again and again."""

    name: str
    """What it does, for the log: "abandoned uploads are removed"."""
    run: Callable[[], Awaitable[None]]
    """Does it once. A store that fails is logged in a line, a defect with its traceback; the job goes on after both."""
    every: float
    """Seconds from the end of one run to the beginning of the next."""
    delay: Callable[[], float] = lambda: 0.0
    """Tells the seconds before the first run."""
    is_upkeep: bool = False
    """Whether it changes the store without a client's asking, and so may have to wait while the registry is read-only
    (`storage.maintenance.readonly.upkeep`)."""
    finish: Callable[[], Awaitable[None]] = _nothing
    """Called once, after the last request, when the job has been cancelled."""


def standard_jobs(registry: Registry) -> Sequence[Job]:
    """Return the jobs that every registry has."""
    return [
        Job(
            name="finished upload sessions are removed",
            run=registry.uploads.sweep,
            every=SWEEP_SECONDS,
            delay=lambda: SWEEP_SECONDS,
            finish=registry.uploads.sweep,
        )
    ]


def background(
    catalog: CatalogService, jobs: Sequence[Job], *, upkeep_waits: Callable[[], Awaitable[bool]], is_first: bool
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return what runs the upkeep of the catalog and `jobs` as long as the application lives.

    Args:
        catalog: whose index is kept.
        jobs: what else is done.
        upkeep_waits: tells whether jobs that are upkeep are left out for now.
        is_first: whether this process fills the index.
    """

    async def run(_app: web.Application) -> AsyncIterator[None]:
        catalog_ready = asyncio.Event()
        tasks = [
            asyncio.create_task(_keep_catalog(catalog, catalog_ready, fills=is_first)),
            *(asyncio.create_task(_repeat(job, upkeep_waits), name=job.name) for job in jobs),
        ]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(catalog_ready.wait(), CATALOG_START_SECONDS)
        yield
        for task in tasks:
            task.cancel()
        # Waited for without raising what they were cancelled with.
        await asyncio.wait(tasks)
        for job in jobs:
            await _attempt(job.name, job.finish)

    return run


async def _repeat(job: Job, upkeep_waits: Callable[[], Awaitable[bool]]) -> None:
    await asyncio.sleep(job.delay())
    while True:
        if not (job.is_upkeep and await upkeep_waits()):
            await _attempt(job.name, job.run)
        await asyncio.sleep(job.every)


async def _attempt(name: str, run: Callable[[], Awaitable[None]]) -> None:
    try:
        await run()
    except StorageError as error:
        _logger.warning("not for now: %s: %s", name, error)
    except Exception:
        # A defect, but one in upkeep must not end it until the next restart.
        _logger.exception("failed: %s", name)


async def _keep_catalog(catalog: CatalogService, ready: asyncio.Event, *, fills: bool) -> None:
    """Fill the index, quickly retried while the port is closed; then write, for ever, what it missed."""
    loop = asyncio.get_running_loop()
    patience_ends = loop.time() + CATALOG_START_SECONDS
    while True:
        try:
            is_done = await catalog.catch_up(fills=fills)
        except Exception:
            # A defect, but one in the catalog must not leave it without upkeep until the next restart.
            _logger.exception("upkeep of the catalog failed")
            is_done = False
        if is_done:
            ready.set()
        is_starting = not ready.is_set() and loop.time() < patience_ends
        await asyncio.sleep(CATALOG_START_RETRY_SECONDS if is_starting else CATALOG_RETRY_SECONDS)
