"""The composition root: the dependencies of each service.

The graph is built synchronously, and nothing in it is open.
"""

import asyncio
import time
from functools import partial

from dependency_injector.providers import Callable, Object, Singleton

from config.container.applications import (
    RegistryApplication,
    ServerApplication,
    ServerParts,
    StoreApplication,
)
from config.container.caches import is_configured, related_of
from config.container.events import event_recorder, make_notifier, make_pull_recorder
from config.container.mirroring import make_mirror_service
from config.container.observers import damage_counter
from config.container.pull_through import (
    listing_rule,
    make_blobs,
    make_manifests,
    make_pull_through,
    make_referrers,
    make_repositories,
    make_tags,
    origins_of,
    renewable_in,
)
from config.container.scheduled import Schedules
from config.container.schedules import (
    touch_seconds,
)
from config.container.summaries import summary_storing
from config.container.surroundings import boot_clock, duration, entry_id, process_name
from config.policies import TagImmutability, manifest_policy, verification_rules
from core.collection.guard import CollectionGuard
from core.collection.pins import Pins
from core.collection.recovery import RoundWatch
from core.collection.rounds import Rounds
from core.coordination.read_only import ReadOnlySwitch
from core.notifications.outbox import Outbox
from core.registry.catalog import CatalogService
from core.registry.facade import Registry
from core.registry.immutable_images import ImmutableImages
from core.registry.publisher import Publisher
from core.registry.uploads import UploadService
from core.restoration.service import TrashService
from core.retention.pulls import PullHistory
from core.retention.service import RetentionService
from core.store.clock import StoreClock
from core.store.damage import DamageWatch
from core.store.links import Links
from core.store.manifest_cache import ManifestCache
from core.store.tag_links import TagLinks
from core.summaries.changes import ChangeLog, ChangeRecorder
from core.summaries.repository_list import RepositoryLists
from core.summaries.service import SummaryService
from core.summaries.tag_history import HistoryService
from core.summaries.tag_list import TagLists
from core.trash.store import Trash
from core.verification.announcement import QuarantineAnnouncements
from core.verification.verifier import Verifier


class Container(Schedules):
    """One registry; `settings` must be provided."""

    # The body of a class does not see the names of its base.
    settings = Schedules.settings
    now = Schedules.now
    new_id = Schedules.new_id
    audit_log = Schedules.audit_log
    observers = Schedules.observers
    metrics = Schedules.metrics
    plain_blob_storage = Schedules.plain_blob_storage
    blob_storage = Schedules.blob_storage
    catalog_index = Schedules.catalog_index
    authenticator = Schedules.authenticator
    access_policy = Schedules.access_policy
    shared_secret = Schedules.shared_secret
    descriptor_marks = Schedules.descriptor_marks
    descriptor_cache = Schedules.descriptor_cache
    descriptor_hints = Schedules.descriptor_hints
    outbox_storage = Schedules.outbox_storage
    outbox_lifetime = Schedules.outbox_lifetime
    new_hasher = Schedules.new_hasher
    offload = Schedules.offload

    pull_through = Singleton(make_pull_through, settings, storage=blob_storage, offload=offload, metrics=metrics)
    origins = Singleton(origins_of, pull_through)
    tag_immutability = Singleton(TagImmutability, settings.provided.access, is_cached=origins.provided.is_cached)

    read_only = Singleton(ReadOnlySwitch, blob_storage, clock=Object(boot_clock), now=now)
    outbox = Singleton(Outbox, storage=outbox_storage, process=Singleton(process_name), now=now)
    events = Singleton(event_recorder, outbox, settings)
    notifier = Singleton(
        make_notifier,
        outbox,
        events,
        storage=outbox_storage,
        settings=settings.provided.notifications,
    )

    publisher = Singleton(Publisher, events, audit_log, now=now)

    store_clock = Singleton(StoreClock, blob_storage, clock=Object(boot_clock))
    trash = Singleton(
        Trash,
        storage=blob_storage,
        store_clock=store_clock,
        now=now,
        new_id=Object(entry_id),
        keep=Callable(duration, settings.provided.storage.trash_keep_seconds),
    )

    links = Singleton(Links, storage=blob_storage)
    tag_links = Singleton(TagLinks, storage=blob_storage, links=links)
    manifest_cache = Singleton(ManifestCache)
    rounds = Singleton(Rounds, storage=blob_storage)
    pins = Singleton(Pins, storage=blob_storage)
    guard = Singleton(
        CollectionGuard,
        rounds=rounds,
        pins=pins,
        links=links,
        trash=trash,
        cache=descriptor_cache,
        clock=Object(boot_clock),
        sleep=Object(asyncio.sleep),
        settle_seconds=settings.provided.storage.garbage_collection.settle_seconds,
        touch_seconds=Callable(touch_seconds, settings.provided.storage.garbage_collection.grace_seconds),
        related=Callable(related_of, manifest_cache),
        is_renewable=Callable(renewable_in, pull_through),
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
        is_immutable=tag_immutability,
        covers=tag_immutability.provided.covers,
    )
    blobs = Singleton(
        make_blobs,
        pull_through,
        new_id=new_id,
        new_hasher=new_hasher,
        offload=offload,
        read_only=read_only,
        storage=blob_storage,
        links=links,
        cache=descriptor_hints,
        guard=guard,
        trash=trash,
        damage=damage,
        immutable_images=immutable_images,
        publisher=publisher,
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
        publisher=publisher,
    )
    catalog = Singleton(
        CatalogService,
        catalog_index,
        storage=blob_storage,
        page_size_max=settings.provided.catalog.entries_max,
        lists=Callable(listing_rule, origins),
    )
    manifests = Singleton(
        make_manifests,
        pull_through,
        catalog=catalog,
        read_only=read_only,
        now=now,
        storage=blob_storage,
        links=links,
        tag_links=tag_links,
        guard=guard,
        policy=Singleton(manifest_policy, settings.provided.validation, tag_immutability),
        memory=manifest_cache,
        trash=trash,
        damage=damage,
        immutable_images=immutable_images,
        offload=offload,
    )
    tags = Singleton(
        make_tags,
        pull_through,
        storage=blob_storage,
        tag_links=tag_links,
        page_size_max=settings.provided.tags.tags_max,
        clock=Object(boot_clock),
    )
    referrers = Singleton(
        make_referrers,
        pull_through,
        storage=blob_storage,
        links=links,
        tag_links=tag_links,
        clock=Object(boot_clock),
    )
    trash_service = Singleton(
        TrashService,
        storage=blob_storage,
        trash=trash,
        links=links,
        tag_links=tag_links,
        guard=guard,
        is_immutable=tag_immutability,
    )
    repositories = Singleton(
        make_repositories,
        pull_through,
        storage=blob_storage,
        links=links,
        tag_links=tag_links,
        trash=trash,
        guard=guard,
        is_immutable=tag_immutability,
    )
    pull_recorder = Singleton(make_pull_recorder, blob_storage, settings)
    retention = Singleton(
        RetentionService,
        storage=blob_storage,
        tag_links=tag_links,
        pulls=Singleton(PullHistory, storage=blob_storage, new_id=Object(entry_id)),
        rules=settings.provided.retention.rules,
        store_clock=store_clock,
        is_immutable=tag_immutability,
    )
    announcements = Singleton(
        QuarantineAnnouncements,
        rounds,
        clock=Object(time.monotonic),
        sleep=Object(asyncio.sleep),
        new_id=new_id,
        settle_seconds=settings.provided.storage.garbage_collection.settle_seconds,
        is_needed=Callable(is_configured, settings.provided.storage.blob_descriptor_cache),
    )
    change_log = Singleton(ChangeLog, blob_storage)
    summaries = Singleton(
        SummaryService,
        storage=blob_storage,
        tag_links=tag_links,
        log=change_log,
        clock=Object(boot_clock),
        now=now,
        offload=offload,
        may_store=Singleton(summary_storing, settings, read_only),
    )
    changes = Singleton(
        ChangeRecorder,
        blob_storage,
        now=now,
        new_id=Object(entry_id),
        is_enabled=settings.provided.summaries.enabled,
    )
    history = Singleton(HistoryService, blob_storage, tag_links, log=change_log, summaries=summaries)
    tag_lists = Singleton(
        TagLists,
        summaries,
        is_immutable=tag_immutability,
        referrers=referrers.provided.page,
        page_size_max=settings.provided.tags.tags_max,
    )
    repository_lists = Singleton(
        RepositoryLists,
        summaries,
        catalog=catalog.provided.page,
        page_size_max=settings.provided.catalog.entries_max,
    )
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
        publisher=publisher,
        summaries=summaries,
        changes=changes,
        history=history,
        tag_lists=tag_lists,
        repository_lists=repository_lists,
        pulls=pull_recorder,
    )

    new_verifier = Singleton(
        partial,
        Verifier,
        blob_storage,
        links=links,
        index=catalog_index,
        trash=trash,
        rules=Singleton(
            verification_rules,
            settings.provided.validation,
            tag_immutability,
            is_listed=origins.provided.is_listed,
            is_cached=origins.provided.is_cached,
        ),
        new_hasher=new_hasher,
        offload=offload,
        clock=Object(time.monotonic),
        sleep=Object(asyncio.sleep),
        rebuild_catalog=catalog.provided.rebuild,
        announce=announcements.provided.announce,
        store_clock=store_clock,
    )

    store_application = Singleton(StoreApplication, settings=settings, storage=blob_storage, read_only=read_only)
    registry_application = Singleton(
        RegistryApplication,
        **store_application.kwargs,
        now=now,
        audit_log=audit_log,
        catalog_index=catalog_index,
        descriptor_cache=descriptor_cache,
        outbox_lifetime=outbox_lifetime,
        registry=registry,
        outbox=outbox,
        links=links,
        trash=trash,
        guard=guard,
        damage=damage,
        store_clock=store_clock,
        new_hasher=new_hasher,
        offload=offload,
        collection_lease=Schedules.collection_lease,
        eviction_lease=Schedules.eviction_lease,
        announcements=announcements,
        new_verifier=new_verifier,
        origins=origins,
        pull_through=pull_through,
        mirrors=Singleton(make_mirror_service, settings.provided.mirrors, registry, storage=blob_storage, now=now),
        mirror_leases=Schedules.mirror_leases,
    )
    server_parts = Singleton(
        ServerParts,
        settings=settings,
        authenticator=authenticator,
        policy=access_policy,
        upload_secret=shared_secret,
        audit_log=audit_log,
        creates_exclusively=plain_blob_storage.provided.creates_exclusively,
        descriptor_marks=descriptor_marks,
    )
    server_application = Singleton(
        ServerApplication,
        **registry_application.kwargs,
        observers=observers,
        authenticator=authenticator,
        policy=access_policy,
        upload_secret=shared_secret,
        tag_immutability=tag_immutability,
        events=events,
        notifier=notifier,
        pull_recorder=pull_recorder,
        trash_interval_seconds=Schedules.trash_interval_seconds,
        trash_schedule=Schedules.trash_schedule,
        mirror_schedules=Schedules.mirror_schedules,
        retention_schedule=Schedules.retention_schedule,
        upload_purge_schedule=Schedules.upload_purge_schedule,
        upload_purge_budget=Schedules.upload_purge_budget,
        collection_schedule=Schedules.collection_schedule,
        eviction_schedule=Schedules.eviction_schedule,
        prefetch_schedules=Schedules.prefetch_schedules,
        verification_schedule=Schedules.verification_schedule,
        verification_budget=Schedules.verification_budget,
        verification_options=Schedules.verification_options,
        collection_watch=Singleton(RoundWatch, rounds, clock=Object(time.monotonic)),
    )
