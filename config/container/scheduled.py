"""The leases, schedules and budgets of the jobs that one of all replicas runs."""

from dependency_injector.providers import Callable, Singleton

from config.container.adapters import Adapters
from config.container.mirroring import make_mirror_leases, make_mirror_schedules
from config.container.schedules import (
    COLLECTION_LEASE_SECONDS,
    EVICTION_INTERVAL_SECONDS,
    PURGE_REQUESTS_PER_SECOND,
    make_budget,
    make_lease,
    make_prefetch_schedules,
    make_schedule,
    make_verification_budget,
    make_verification_schedule,
    seconds_between_expiries,
)
from config.container.surroundings import duration
from core.coordination import job_names
from core.coordination.schedule import SharedSchedule
from core.store import layout
from core.verification.rules import VerificationOptions


class Schedules(Adapters):
    """The leases of commands and the schedules of servers."""

    settings = Adapters.settings
    sections = Adapters.sections
    storage_section = Adapters.storage_section
    blob_storage = Adapters.blob_storage

    eviction_lease = Singleton(make_lease, job_names.EVICTION, storage=blob_storage)
    usage_schedule = Singleton(
        make_schedule,
        job_names.USAGE,
        storage=blob_storage,
        interval_seconds=storage_section.usage.interval_seconds,
    )
    requested_usage = Singleton(
        make_schedule,
        job_names.USAGE,
        storage=blob_storage,
        interval_seconds=storage_section.usage.interval_seconds,
    )
    collection_lease = Singleton(make_lease, job_names.COLLECTION, storage=blob_storage, ttl=COLLECTION_LEASE_SECONDS)
    mirror_leases = Singleton(make_mirror_leases, sections.mirrors, storage=blob_storage)

    trash_interval_seconds = Callable(seconds_between_expiries, storage_section.trash_keep_seconds)
    verification_options = Singleton(VerificationOptions, repair=storage_section.verification.repair)
    trash_schedule = Singleton(
        make_schedule, "expire-trash", storage=blob_storage, interval_seconds=trash_interval_seconds
    )
    mirror_schedules = Singleton(make_mirror_schedules, sections.mirrors, storage=blob_storage)
    retention_schedule = Singleton(
        make_schedule,
        "retention",
        storage=blob_storage,
        interval_seconds=sections.retention.interval_seconds,
    )
    upload_purge_schedule = Singleton(
        make_schedule,
        "purge-uploads",
        storage=blob_storage,
        interval_seconds=storage_section.upload_purging.interval_seconds,
    )
    upload_purge_budget = Singleton(make_budget, PURGE_REQUESTS_PER_SECOND)
    collection_schedule = Singleton(
        SharedSchedule,
        blob_storage,
        Singleton(make_lease, job_names.COLLECTION, storage=blob_storage, ttl=COLLECTION_LEASE_SECONDS),
        key=layout.job(job_names.COLLECTION),
        interval=Callable(duration, storage_section.garbage_collection.interval_seconds),
    )
    requested_collection = Singleton(
        SharedSchedule,
        blob_storage,
        Singleton(make_lease, job_names.COLLECTION, storage=blob_storage, ttl=COLLECTION_LEASE_SECONDS),
        key=layout.job(job_names.COLLECTION),
        interval=Callable(duration, storage_section.garbage_collection.interval_seconds),
    )
    eviction_schedule = Singleton(
        make_schedule, job_names.EVICTION, storage=blob_storage, interval_seconds=EVICTION_INTERVAL_SECONDS
    )
    prefetch_schedules = Singleton(make_prefetch_schedules, settings, storage=blob_storage)
    verification_schedule = Singleton(
        make_verification_schedule,
        verification_options,
        storage=blob_storage,
        interval_seconds=storage_section.verification.interval_seconds,
    )
    requested_verification = Singleton(
        make_verification_schedule,
        verification_options,
        storage=blob_storage,
        interval_seconds=storage_section.verification.interval_seconds,
    )
    verification_budget = Singleton(make_verification_budget, storage_section.verification)
    folding_schedule = Singleton(
        make_schedule,
        job_names.FOLDING,
        storage=blob_storage,
        interval_seconds=sections.summaries.interval_seconds,
    )
