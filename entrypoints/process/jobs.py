"""Selection of the background jobs of a server process, from the settings."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from config.container import ServerApplication
from core.access_keys.service import AccessKeys
from core.store.clock import LOOK_SECONDS, StoreClock
from core.store.damage import POLL_SECONDS
from entrypoints.http.observation import WorkerObservation
from entrypoints.jobs.background import Job
from entrypoints.jobs.collection import collection_job, hooks_of, watch_job
from entrypoints.jobs.folding import folding_job
from entrypoints.jobs.notifications import notification_jobs
from entrypoints.jobs.purging import purge_job
from entrypoints.jobs.retention import CACHE_FLUSH_SECONDS, FLUSH_SECONDS, SERVER, pull_recording_job, retention_job
from entrypoints.jobs.trash_expiry import expiry_job
from entrypoints.jobs.usage import usage_jobs
from entrypoints.jobs.verifying import verification_job
from entrypoints.process.workers import Worker

READ_ONLY_SECONDS: Final = 15.0
"""Interval at which a process that receives no pushes reads the read-only switch."""
KEY_USE_SECONDS: Final = 60.0
"""Interval at which a process records which API keys were used."""


def jobs_of(application: ServerApplication, worker: Worker, observation: WorkerObservation) -> Sequence[Job]:
    """Return the background jobs of a server process; only the first process gets the shared jobs."""
    settings = application.settings
    jobs = [
        # Requests read the switch themselves; the job serves processes without requests, and the metrics.
        Job(name="read-only switch check", run=application.read_only.look, every=READ_ONLY_SECONDS),
        watch_job(application.guard),
        key_use_job(application.access_keys),
        Job(name="damage record check", run=application.damage.poll, every=POLL_SECONDS),
        *notification_jobs(application.events, application.notifier, settings, is_first=worker.is_first),
    ]
    if application.pull_recorder is not None:
        seconds = FLUSH_SECONDS if settings.proxy is None else CACHE_FLUSH_SECONDS
        jobs.append(pull_recording_job(application.pull_recorder, every_seconds=seconds))
    if settings.proxy is not None and settings.proxy.has_limits:
        from entrypoints.jobs.caching import eviction_job  # noqa: PLC0415 - as in `config.container.content`

        jobs.append(eviction_job(application, settings.proxy, observe=observation.eviction_observer()))
    if worker.is_first:
        jobs += _shared_jobs(application, observation)
    return jobs


def key_use_job(keys: AccessKeys) -> Job:
    """Return the job that records which API keys this process has accepted."""
    return Job(name="recording of used API keys", run=keys.record_uses, every=KEY_USE_SECONDS, is_upkeep=True)


def clock_job(store_clock: StoreClock) -> Job:
    """Return the job that checks the store's clock for jumps, so that other jobs can account for them."""

    async def look() -> None:
        await store_clock.look()

    return Job(name="store clock check", run=look, every=LOOK_SECONDS)


def _shared_jobs(application: ServerApplication, observation: WorkerObservation) -> Sequence[Job]:
    """Return the jobs that run in one process of all replicas; a lease decides which process runs each job."""
    settings, registry = application.settings, application.registry
    jobs = [
        expiry_job(registry.trash, application.trash_schedule, application.trash_interval_seconds),
        clock_job(application.store_clock),
        *usage_jobs(application, observe=observation.usage_observer()),
    ]
    if settings.summaries.enabled and not settings.storage.readonly_enabled:
        seconds = settings.summaries.interval_seconds
        jobs.append(folding_job(application.new_folding, application.folding_schedule, interval_seconds=seconds))
    retention = settings.retention
    if retention.rules and retention.interval_seconds:
        schedule = application.retention_schedule
        jobs.append(retention_job(registry, schedule, interval_seconds=retention.interval_seconds))
    collecting = settings.storage.garbage_collection
    if collecting.enabled:
        before = hooks_of(application, by=SERVER)
        observe = observation.collection_observer()
        jobs.append(collection_job(application, collecting, observe=observe, before=before))
    if settings.mirrors and not settings.storage.readonly_enabled:
        from entrypoints.jobs.mirroring import mirror_jobs  # noqa: PLC0415 - imports the copying of images

        jobs += mirror_jobs(
            application.new_mirror_service(),
            application.mirror_schedules,
            application.read_only,
            observe=observation.mirror_observer(),
        )
    verification = settings.storage.verification
    if verification.enabled:
        jobs.append(
            verification_job(
                partial(application.new_verifier, budget=application.verification_budget),
                application.announcements,
                application.verification_schedule,
                options=application.verification_options,
                interval_seconds=verification.interval_seconds,
                observer=observation.verification_observer(),
            )
        )
    if settings.proxy is not None:
        from entrypoints.jobs.caching import prefetch_jobs  # noqa: PLC0415 - as in `jobs_of`

        jobs += prefetch_jobs(application, settings.proxy.prefetch, observe=observation.prefetch_observer())
    purging = settings.storage.upload_purging
    if purging.enabled:
        jobs.append(
            purge_job(
                application.storage,
                application.store_clock,
                application.upload_purge_schedule,
                purging,
                application.upload_purge_budget,
                observe=observation.purge_observer(),
            )
        )
    return jobs
