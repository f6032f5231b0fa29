"""The composition root: the adapter behind each port, and the dependencies of each service.

The graph is built synchronously. Its user enters `blob_storage` and `catalog_index`, in this order, as context
managers, and leaves them in reverse order.
"""

import asyncio
import time
from collections.abc import Callable as CallableType
from contextlib import nullcontext
from pathlib import Path

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Callable, Dependency, Factory, Object, Selector, Singleton

from adapters.audit_log.file import FileAuditLog
from adapters.audit_log.stream import DisabledAuditLog, StreamAuditLog
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.open import OpenAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.listing import ListingCatalogIndex
from adapters.catalog_index.local_file import LocalFileCatalogIndex
from adapters.descriptor_cache.marks import SharedMarks
from adapters.descriptor_cache.memory import DisabledDescriptorCache, InMemoryDescriptorCache
from adapters.descriptor_cache.shared import SharedDescriptorCache
from adapters.hashing.resumable import hasher_factory
from config.container.authenticators import (
    group_file,
    kind_of_authenticator,
    login_authenticator,
    reveal_or_make_secret,
    token_authenticator,
)
from config.container.caches import (
    entries_max,
    is_configured,
    kind_of_cache,
    observed_descriptor_cache,
    redis_cache,
    related_of,
)
from config.container.events import event_recorder, make_notifier
from config.container.observers import damage_counter, make_job_metrics, make_metrics, make_tracer, packages_can_trace
from config.container.schedules import (
    COLLECTION_LEASE_SECONDS,
    PURGE_REQUESTS_PER_SECOND,
    make_budget,
    make_lease,
    make_schedule,
    make_verification_budget,
    make_verification_schedule,
    seconds_between_expiries,
    touch_seconds,
)
from config.container.storages import (
    mysql_address,
    mysql_catalog_index,
    observed_blob_storage,
    s3_blob_storage,
    scs_blob_storage,
)
from config.container.surroundings import HashingThreads, boot_clock, duration, entry_id, new_id, process_name, utc_now
from config.policies import KeptTags, access_policy, manifest_policy, retention_rules, verification_rules
from config.settings import (
    Settings,
)
from config.streams import UnblockedStream
from core.collection.collector import JOB, Collector
from core.collection.guard import CollectionGuard
from core.collection.recovery import Vigil
from core.collection.rounds import Rounds
from core.collection.spares import Spares
from core.coordination.read_only import ReadOnlySwitch
from core.coordination.schedule import SharedSchedule
from core.notifications.outbox import Outbox
from core.registry.blobs import BlobService
from core.registry.catalog import CatalogService
from core.registry.facade import Registry
from core.registry.immutable_images import ImmutableImages
from core.registry.manifests import ManifestService
from core.registry.referrers import ReferrerService
from core.registry.repositories import RepositoryService
from core.registry.tags import TagService
from core.registry.uploads import UploadService
from core.restoration.service import TrashService
from core.retention.pulls import PullHistory, PullRecorder
from core.retention.service import RetentionService
from core.store import layout
from core.store.clock import StoreClock
from core.store.damage import DamageWatch
from core.store.links import Links
from core.store.manifest_cache import ManifestCache
from core.store.tag_links import TagLinks
from core.trash.store import Trash
from core.verification.announcement import Announcements
from core.verification.verifier import VerificationOptions, Verifier


class Container(DeclarativeContainer):
    """One registry; `settings` must be provided."""

    settings = Dependency(instance_of=Settings)

    now = Object(utc_now)
    new_id = Object(new_id)

    makes_store: Object[bool] = Object(provides=True)
    """Whether a missing store is created; commands that only inspect a store set this to False."""

    runtime_folder: Object[Path | None] = Object(None)
    """The folder of the running server's metrics; set by the server, together with `worker_number`."""
    worker_number: Object[CallableType[[], int]] = Object(lambda: 0)
    can_trace = Callable(packages_can_trace)
    metrics = Singleton(make_metrics, runtime_folder, worker_number)
    job_metrics = Singleton(make_job_metrics)
    """The metrics of a command, which writes them to a file."""
    tracing_exporters = Object(())
    """The exporters of spans; set by the server."""
    tracer = Singleton(make_tracer, tracing_exporters)

    plain_blob_storage = Selector(
        settings.provided.storage.kind,
        inmemory=Singleton(InMemoryBlobStorage, now=now),
        filesystem=Singleton(
            FilesystemBlobStorage,
            root_directory=settings.provided.storage.filesystem.root_directory,
            threads_max=settings.provided.storage.filesystem.max_threads,
            makes_root=makes_store,
            reserved_for=Object(layout.HOUSEKEEPING),
        ),
        s3=Singleton(s3_blob_storage, settings.provided.storage.s3),
        scs=Singleton(scs_blob_storage, settings.provided.storage.scs),
    )
    blob_storage = Singleton(observed_blob_storage, plain_blob_storage, metrics, tracer)
    catalog_index = Selector(
        settings.provided.catalog.backend,
        LISTING=Singleton(ListingCatalogIndex, storage=blob_storage),
        MYSQL=Singleton(mysql_catalog_index, Callable(mysql_address, settings.provided.catalog.mysql_dsn), now=now),
        LOCAL=Singleton(LocalFileCatalogIndex, path=Singleton(Path, settings.provided.catalog.local_path)),
    )

    audit_log = Selector(
        settings.provided.audit.kind,
        disabled=Singleton(DisabledAuditLog),
        stream=Singleton(StreamAuditLog, Singleton(UnblockedStream, 1)),
        file=Singleton(FileAuditLog, Singleton(Path, settings.provided.audit.file), sync=settings.provided.audit.sync),
    )

    shared_secret = Singleton(reveal_or_make_secret, settings.provided.http.secret)
    kept_tags = Singleton(KeptTags, settings.provided.access)
    access_policy = Singleton(access_policy, settings.provided.auth, settings.provided.access)
    htpasswd = Singleton(
        HtpasswdAuthenticator,
        realm=settings.provided.auth.htpasswd.realm,
        path=settings.provided.auth.htpasswd.path,
        clock=Object(time.monotonic),
        groups=Singleton(group_file, settings.provided.access.group_file),
    )
    authenticator = Selector(
        Callable(kind_of_authenticator, settings.provided.auth.kind, access_policy),
        none=Singleton(OpenAuthenticator),
        silly=Singleton(
            SillyAuthenticator,
            realm=settings.provided.auth.silly.realm,
            service=settings.provided.auth.silly.service,
        ),
        htpasswd=htpasswd,
        login=Singleton(login_authenticator, htpasswd, secret=shared_secret, now=now),
        token=Singleton(token_authenticator, settings.provided.auth.token, now=now),
    )
    # Created before a server forks.
    descriptor_marks = Singleton(SharedMarks)
    own_descriptors = Singleton(
        InMemoryDescriptorCache,
        now=now,
        marks=descriptor_marks,
        entries_max=Callable(entries_max, settings.provided.storage.blob_descriptor_cache_entries_max),
    )
    shared_descriptors = Singleton(redis_cache, settings.provided.redis, metrics)
    descriptor_cache_kind = Callable(kind_of_cache, settings.provided.storage.blob_descriptor_cache)
    plain_descriptor_cache = Selector(
        descriptor_cache_kind,
        disabled=Singleton(DisabledDescriptorCache),
        inmemory=own_descriptors,
        redis=Singleton(SharedDescriptorCache, own_descriptors, shared_descriptors, believes_others=False),
    )
    descriptor_cache = Singleton(observed_descriptor_cache, plain_descriptor_cache, metrics)
    # For pulls, which detect a wrong hint themselves. Opened and closed with `descriptor_cache`.
    believing_cache = Singleton(SharedDescriptorCache, own_descriptors, shared_descriptors, believes_others=True)
    descriptor_hints = Selector(
        descriptor_cache_kind,
        disabled=descriptor_cache,
        inmemory=descriptor_cache,
        redis=Singleton(observed_descriptor_cache, believing_cache, metrics),
    )

    read_only = Singleton(ReadOnlySwitch, blob_storage, clock=Object(boot_clock), now=now)
    outbox_storage = Selector(
        settings.provided.notifications.outbox.backend,
        storage=blob_storage,
        local=Singleton(FilesystemBlobStorage, root_directory=settings.provided.notifications.outbox.path),
        memory=Singleton(InMemoryBlobStorage, now=now),
    )
    outbox_lifetime = Selector(
        settings.provided.notifications.outbox.backend,
        storage=Singleton(nullcontext),
        local=outbox_storage,
        memory=outbox_storage,
    )
    outbox = Singleton(Outbox, storage=outbox_storage, process=Singleton(process_name), now=now)
    events = Singleton(event_recorder, outbox, settings)
    notifier = Singleton(
        make_notifier,
        outbox,
        events,
        storage=outbox_storage,
        settings=settings.provided.notifications,
    )

    store_clock = Singleton(StoreClock, blob_storage, clock=Object(boot_clock))
    trash = Singleton(
        Trash,
        storage=blob_storage,
        store_clock=store_clock,
        now=now,
        new_id=Object(entry_id),
        keep=Callable(duration, settings.provided.storage.trash_keep_seconds),
    )
    trash_interval_seconds = Callable(seconds_between_expiries, settings.provided.storage.trash_keep_seconds)
    trash_expiry_schedule = Singleton(
        make_schedule, "expire-trash", storage=blob_storage, interval_seconds=trash_interval_seconds
    )
    upload_purge_schedule = Singleton(
        make_schedule,
        "purge-uploads",
        storage=blob_storage,
        interval_seconds=settings.provided.storage.upload_purging.interval_seconds,
    )
    upload_purge_budget = Singleton(make_budget, PURGE_REQUESTS_PER_SECOND)

    new_hasher = Singleton(hasher_factory)
    offload = Singleton(HashingThreads)
    links = Singleton(Links, storage=blob_storage)
    tag_links = Singleton(TagLinks, storage=blob_storage, links=links)
    manifest_cache = Singleton(ManifestCache)
    rounds = Singleton(Rounds, storage=blob_storage)
    spares = Singleton(Spares, storage=blob_storage)
    guard = Singleton(
        CollectionGuard,
        rounds=rounds,
        spares=spares,
        links=links,
        trash=trash,
        cache=descriptor_cache,
        clock=Object(boot_clock),
        sleep=Object(asyncio.sleep),
        settle_seconds=settings.provided.storage.garbage_collection.settle_seconds,
        touch_seconds=Callable(touch_seconds, settings.provided.storage.garbage_collection.grace_seconds),
        related=Callable(related_of, manifest_cache),
    )
    damage = Singleton(
        DamageWatch,
        blob_storage,
        new_hasher=new_hasher,
        offload=offload,
        clock=Object(boot_clock),
        on_damage=Singleton(damage_counter, metrics),
    )
    immutable_images = Singleton(
        ImmutableImages,
        storage=blob_storage,
        tag_links=tag_links,
        keeps_tag=kept_tags,
        covers=kept_tags.provided.covers,
    )
    blobs = Singleton(
        BlobService,
        storage=blob_storage,
        links=links,
        cache=descriptor_hints,
        guard=guard,
        trash=trash,
        damage=damage,
        immutable_images=immutable_images,
    )
    uploads = Singleton(
        UploadService,
        storage=blob_storage,
        guard=guard,
        damage=damage,
        now=now,
        new_id=new_id,
        new_hasher=new_hasher,
        offload=offload,
    )
    manifests = Singleton(
        ManifestService,
        storage=blob_storage,
        links=links,
        tag_links=tag_links,
        guard=guard,
        policy=Singleton(manifest_policy, settings.provided.validation, kept_tags),
        memory=manifest_cache,
        trash=trash,
        damage=damage,
        immutable_images=immutable_images,
        offload=offload,
    )
    tags = Singleton(
        TagService, storage=blob_storage, tag_links=tag_links, page_size_max=settings.provided.tags.tags_max
    )
    referrers = Singleton(ReferrerService, storage=blob_storage, links=links, tag_links=tag_links)
    trash_service = Singleton(
        TrashService,
        storage=blob_storage,
        trash=trash,
        links=links,
        tag_links=tag_links,
        guard=guard,
        keeps_tag=kept_tags,
    )
    repositories = Singleton(
        RepositoryService,
        storage=blob_storage,
        links=links,
        tag_links=tag_links,
        trash=trash,
        guard=guard,
        keeps_tag=kept_tags,
    )
    pull_recorder = Singleton(PullRecorder, storage=blob_storage, clock=Object(time.monotonic), new_id=Object(entry_id))
    retention = Singleton(
        RetentionService,
        storage=blob_storage,
        tag_links=tag_links,
        pulls=Singleton(PullHistory, storage=blob_storage, new_id=Object(entry_id)),
        rules=Singleton(retention_rules, settings.provided.retention),
        store_clock=store_clock,
        keeps_tag=kept_tags,
    )
    retention_schedule = Singleton(
        make_schedule,
        "retention",
        storage=blob_storage,
        interval_seconds=settings.provided.retention.interval_seconds,
    )
    catalog = Singleton(
        CatalogService,
        catalog_index,
        storage=blob_storage,
        page_size_max=settings.provided.catalog.entries_max,
    )
    announcements = Factory(
        Announcements,
        rounds,
        clock=Object(time.monotonic),
        sleep=Object(asyncio.sleep),
        new_id=new_id,
        settle_seconds=settings.provided.storage.garbage_collection.settle_seconds,
        is_needed=Callable(is_configured, settings.provided.storage.blob_descriptor_cache),
    )
    collection_lease = Factory(make_lease, JOB, storage=blob_storage, ttl=COLLECTION_LEASE_SECONDS)
    collection_schedule = Singleton(
        SharedSchedule,
        blob_storage,
        Singleton(make_lease, JOB, storage=blob_storage, ttl=COLLECTION_LEASE_SECONDS),
        key=layout.job(JOB),
        interval=Callable(duration, settings.provided.storage.garbage_collection.interval_seconds),
    )
    collection_vigil = Factory(Vigil, rounds, clock=Object(time.monotonic))
    collector = Factory(
        Collector,
        blob_storage,
        links=links,
        trash=trash,
        cache=descriptor_cache,
    )
    """The caller provides budget, options and surroundings."""
    verification_options = Singleton(VerificationOptions, repair=settings.provided.storage.verification.repair)
    verification_schedule = Singleton(
        make_verification_schedule,
        verification_options,
        storage=blob_storage,
        interval_seconds=settings.provided.storage.verification.interval_seconds,
    )
    verification_budget = Singleton(make_verification_budget, settings.provided.storage.verification)
    verifier = Factory(
        Verifier,
        blob_storage,
        links=links,
        index=catalog_index,
        trash=trash,
        rules=Singleton(verification_rules, settings.provided.validation, kept_tags),
        new_hasher=new_hasher,
        offload=offload,
        clock=Object(time.monotonic),
        sleep=Object(asyncio.sleep),
        rebuild_catalog=catalog.provided.rebuild,
        store_clock=store_clock,
    )
    """The caller provides the budget, and the announcement of removals."""
    registry = Singleton(
        Registry,
        blobs=blobs,
        uploads=uploads,
        manifests=manifests,
        tags=tags,
        referrers=referrers,
        catalog=catalog,
        trash=trash_service,
        repositories=repositories,
        retention=retention,
    )
