"""Background jobs that run beside the requests, for the lifetime of the application."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.errors import StorageError
from core.registry.catalog import CatalogService
from core.registry.facade import Registry

if TYPE_CHECKING:
    # Commands import this module too, and start without a web server.
    from aiohttp import web

_logger = logging.getLogger(__name__)

CATALOG_RETRY_SECONDS: Final = 5.0
"""Interval at which names missing from the catalog index are written again."""
CATALOG_START_SECONDS: Final = 3.0
"""Maximum delay of the start for a catalog that is being filled or whose index does not respond."""
CATALOG_START_RETRY_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 1.0
"""Interval at which the remains of finished uploads are removed from storage."""


async def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Job that runs periodically."""

    name: str
    """Name for the log: "upload purging"."""
    run: Callable[[], Awaitable[None]]
    """Runs the job once.

    A storage error is logged in one line, a defect with its traceback. The job runs again after either.
    """
    every: float
    """Seconds between the end of one run and the start of the next."""
    delay: Callable[[], float] = lambda: 0.0
    """Returns the seconds before the first run."""
    is_upkeep: bool = False
    """Whether the job changes the store without a client's request.

    Such a job may have to wait while the registry is read-only (`storage.maintenance.readonly.upkeep`).
    """
    finish: Callable[[], Awaitable[None]] = _nothing
    """Called once, after the last request, when the job has been cancelled."""


def standard_jobs(registry: Registry) -> Sequence[Job]:
    """Return the jobs that every registry runs."""
    return [
        Job(
            name="upload session cleanup",
            run=registry.uploads.sweep,
            every=SWEEP_SECONDS,
            delay=lambda: SWEEP_SECONDS,
            finish=registry.uploads.sweep,
        )
    ]


def background(
    catalog: CatalogService, jobs: Sequence[Job], *, upkeep_waits: Callable[[], Awaitable[bool]], is_first: bool
) -> Callable[["web.Application"], AsyncIterator[None]]:
    """Return a cleanup context that runs the upkeep of the catalog and `jobs`.

    Args:
        catalog: catalog whose index is kept up to date.
        jobs: further jobs to run.
        upkeep_waits: returns whether upkeep jobs must be skipped for now.
        is_first: whether this process fills the index.
    """

    async def run(_app: "web.Application") -> AsyncIterator[None]:
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
        # asyncio.wait does not raise the cancellation errors of the tasks.
        await asyncio.wait(tasks)
        for job in jobs:
            await _attempt(job.name, job.finish, " during shutdown")

    return run


async def _repeat(job: Job, upkeep_waits: Callable[[], Awaitable[bool]]) -> None:
    await asyncio.sleep(job.delay())
    while True:
        if not (job.is_upkeep and await upkeep_waits()):
            await _attempt(job.name, job.run, f", retrying in {job.every:g} s")
        await asyncio.sleep(job.every)


async def _attempt(name: str, run: Callable[[], Awaitable[None]], sequel: str) -> None:
    try:
        await run()
    except StorageError as error:
        _logger.warning('job "%s" failed%s: %s', name, sequel, error)
    except Exception:
        # A defect must not end upkeep until the next restart.
        _logger.exception('job "%s" failed%s', name, sequel)


async def _keep_catalog(catalog: CatalogService, ready: asyncio.Event, *, fills: bool) -> None:
    """Fill the index, with quick retries while the port is closed; then repeat missed writes forever."""
    loop = asyncio.get_running_loop()
    patience_ends = loop.time() + CATALOG_START_SECONDS
    while True:
        try:
            is_done = await catalog.catch_up(fills=fills)
        except Exception:
            # A defect must not leave the catalog without upkeep until the next restart.
            _logger.exception("catalog upkeep failed")
            is_done = False
        if is_done:
            ready.set()
        is_starting = not ready.is_set() and loop.time() < patience_ends
        await asyncio.sleep(CATALOG_START_RETRY_SECONDS if is_starting else CATALOG_RETRY_SECONDS)
