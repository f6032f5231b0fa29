"""The parts of a process that requests of operators control, besides the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from core.access_keys.service import AccessKeys
from core.collection.report import CollectionObserver, ignore
from core.coordination import job_names
from core.coordination.read_only import ReadOnlySwitch
from core.notifications.outbox import Outbox
from core.ports.blob_storage import BlobStorage
from core.usage.records import UsageRecords
from core.verification.journal import Journal
from entrypoints.jobs.collection import collection_work, hooks_of
from entrypoints.jobs.on_demand import JobControl
from entrypoints.jobs.retention import SERVER
from entrypoints.jobs.usage import NAME as USAGE_NAME
from entrypoints.jobs.usage import server_work as usage_work_of
from entrypoints.jobs.verifying import verification_work
from entrypoints.observability.jobs import VerificationObserver

if TYPE_CHECKING:
    from config.container import ServerApplication
    from core.external_users.sign_in import ExternalSignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The parts that operations on the whole registry need."""

    storage: BlobStorage
    """The store that all replicas share."""
    read_only: ReadOnlySwitch
    usage: JobControl
    usage_records: UsageRecords
    outbox: Outbox
    endpoint_names: Callable[[], frozenset[str]]
    """Returns the names of the configured endpoints of events."""
    collection: JobControl
    verification: JobControl
    access_keys: AccessKeys | None
    """The API keys; None without users who could own them."""
    findings: Journal
    """The findings of verifications by servers."""
    external_sign_in: "ExternalSignIn | None" = None
    """The sign-in at an identity provider; None if none is configured."""


def operations_of(
    application: "ServerApplication",
    *,
    observe_collection: CollectionObserver = ignore,
    verification_observer: VerificationObserver | None = None,
) -> Operations:
    """Return the operations of a server process.

    Args:
        application: the registry.
        observe_collection: called with the progress of collections that requests start.
        verification_observer: receives the progress of verifications that requests start.
    """
    return Operations(
        storage=application.storage,
        read_only=application.read_only,
        usage=_usage(application),
        usage_records=UsageRecords(application.storage),
        outbox=application.outbox,
        endpoint_names=lambda: application.events.endpoint_names,
        collection=_collection(application, observe_collection),
        verification=_verification(application, verification_observer),
        access_keys=application.access_keys if application.settings.auth.has_users else None,
        findings=Journal(application.storage, application.verification_options.scope),
        external_sign_in=application.external.sign_in if application.external is not None else None,
    )


def _usage(application: "ServerApplication") -> JobControl:
    schedule, seconds = application.requested_usage, application.settings.storage.usage.interval_seconds
    return JobControl(
        application.storage,
        schedule,
        usage_work_of(application, schedule),
        job=job_names.USAGE,
        name=USAGE_NAME,
        interval=timedelta(seconds=seconds) if seconds else None,
        is_upkeep=False,
    )


def _collection(application: "ServerApplication", observe: CollectionObserver) -> JobControl:
    settings, schedule = application.settings.storage.garbage_collection, application.requested_collection
    before = hooks_of(application, by=SERVER)
    return JobControl(
        application.storage,
        schedule,
        collection_work(application, settings, schedule, before=before, observe=observe),
        job=job_names.COLLECTION,
        name="garbage collection",
        interval=timedelta(seconds=settings.interval_seconds) if settings.enabled else None,
    )


def _verification(application: "ServerApplication", observer: VerificationObserver | None) -> JobControl:
    settings, schedule = application.settings.storage.verification, application.requested_verification
    options = application.verification_options
    work = verification_work(
        partial(application.new_verifier, budget=application.verification_budget),
        application.announcements,
        schedule,
        options=options,
        observer=observer,
    )
    return JobControl(
        application.storage,
        schedule,
        work,
        job=options.job,
        name="verification",
        interval=timedelta(seconds=settings.interval_seconds) if settings.enabled else None,
        is_upkeep=options.repair,
    )
