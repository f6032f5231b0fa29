"""Selection of the background jobs of a server process, from the settings."""

from collections.abc import Sequence
from typing import Final

from config.container import Container
from config.settings import Settings
from core.store.clock import LOOK_SECONDS, StoreClock
from core.store.damage import POLL_SECONDS
from entrypoints.http.observation import WorkerObservation
from entrypoints.jobs.background import Job
from entrypoints.jobs.collection import collection_job, watch_job
from entrypoints.jobs.notifications import notification_jobs
from entrypoints.jobs.purging import purge_job
from entrypoints.jobs.retention import SERVER, pull_recording_job, retention_hooks, retention_job
from entrypoints.jobs.trash_expiry import expiry_job
from entrypoints.jobs.verifying import verification_job
from entrypoints.process.workers import Worker

READ_ONLY_SECONDS: Final = 15.0
"""Interval at which a process that receives no pushes reads the read-only switch."""


def jobs_of(container: Container, settings: Settings, worker: Worker, observation: WorkerObservation) -> Sequence[Job]:
    """Return the background jobs of a server process; only the first process gets the shared jobs."""
    jobs = [
        # Requests read the switch themselves; the job serves processes without requests, and the metrics.
        Job(name="read-only switch check", run=container.read_only().look, every=READ_ONLY_SECONDS),
        watch_job(container.guard()),
        Job(name="damage record check", run=container.damage().poll, every=POLL_SECONDS),
        *notification_jobs(container.events(), container.notifier(), settings, is_first=worker.is_first),
    ]
    if (recorder := container.pull_recorder()) is not None:
        jobs.append(pull_recording_job(recorder))
    if worker.is_first:
        jobs += _shared_jobs(container, settings, observation)
    return jobs


def clock_job(store_clock: StoreClock) -> Job:
    """Return the job that checks the store's clock for jumps, so that other jobs can account for them."""

    async def look() -> None:
        await store_clock.look()

    return Job(name="store clock check", run=look, every=LOOK_SECONDS)


def _shared_jobs(container: Container, settings: Settings, observation: WorkerObservation) -> Sequence[Job]:
    """Return the jobs that run in one process of all replicas; a lease decides which process runs each job."""
    jobs = [
        expiry_job(container.trash_service(), container.trash_expiry_schedule(), container.trash_interval_seconds())
    ]
    jobs.append(clock_job(container.store_clock()))
    retention, registry = settings.retention, container.registry()
    if retention.rules and retention.interval_seconds:
        schedule = container.retention_schedule()
        jobs.append(retention_job(registry, schedule, interval_seconds=retention.interval_seconds))
    collecting = settings.storage.garbage_collection
    if collecting.enabled:
        before = retention_hooks(registry, by=SERVER)
        observe = observation.collection_observer()
        jobs.append(collection_job(container, collecting, observe=observe, before=before))
    verification = settings.storage.verification
    if verification.enabled:
        announcements = container.announcements()
        jobs.append(
            verification_job(
                container.verifier(budget=container.verification_budget(), announce=announcements.announce),
                announcements,
                container.verification_schedule(),
                options=container.verification_options(),
                interval_seconds=verification.interval_seconds,
                observer=observation.verification_observer(),
            )
        )
    purging = settings.storage.upload_purging
    if purging.enabled:
        budget = container.upload_purge_budget()
        schedule, told = container.upload_purge_schedule(), observation.purge_observer()
        jobs.append(
            purge_job(container.blob_storage(), container.store_clock(), schedule, purging, budget, observe=told)
        )
    return jobs
