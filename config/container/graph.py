"""The composition root: the dependencies of each service.

The graph is built synchronously, and nothing in it is open.
"""

import asyncio
import time

from dependency_injector.providers import Callable, Object, Singleton

from config.container.applications import (
    RegistryApplication,
    ServerApplication,
    ServerParts,
    StoreApplication,
)
from config.container.caches import answers_over_a_network, proves, related_of, target_memory
from config.container.content import (
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
from config.container.foundations import Foundations
from config.container.mirroring import make_mirror_service
from config.container.observers import damage_counter
from config.container.schedules import touch_seconds
from config.container.summaries import make_folding, make_lists
from config.container.surroundings import boot_clock
from config.container.verifying import verifier_factory
from config.policies import TagImmutability, manifest_policy, verification_rules
from core.collection.guard import CollectionGuard
from core.collection.recovery import RoundWatch
from core.registry.catalog import CatalogService
from core.registry.facade import Registry
from core.registry.immutable_images import ImmutableImages
from core.registry.parts import BlobParts, ManifestParts
from core.registry.uploads import UploadService
from core.restoration.service import TrashService
from core.retention.service import RetentionService
from core.store.damage import DamageWatch
from core.summaries.lists import Lists
from core.verification.announcement import QuarantineAnnouncements


class Container(Foundations):
    """One registry; `settings` must be provided."""

    # The body of a class does not see the names of its base.
    settings = Foundations.settings
    sections = Foundations.sections
    storage_section = Foundations.storage_section
    now = Foundations.now
    new_id = Foundations.new_id
    audit_log = Foundations.audit_log
    observers = Foundations.observers
    metrics = Foundations.metrics
    plain_blob_storage = Foundations.plain_blob_storage
    blob_storage = Foundations.blob_storage
    catalog_index = Foundations.catalog_index
    shared_authenticator = Foundations.shared_authenticator
    access_policy = Foundations.access_policy
    shared_secret = Foundations.shared_secret
    descriptor_marks = Foundations.descriptor_marks
    untouched_sessions = Foundations.untouched_sessions
    upload_use = Foundations.upload_use
    descriptor_cache = Foundations.descriptor_cache
    descriptor_hints = Foundations.descriptor_hints
    outbox_storage = Foundations.outbox_storage
    outbox_lifetime = Foundations.outbox_lifetime
    new_hasher = Foundations.new_hasher
    offload = Foundations.offload
    read_only = Foundations.read_only
    outbox = Foundations.outbox
    events = Foundations.events
    notifier = Foundations.notifier
    publisher = Foundations.publisher
    store_clock = Foundations.store_clock
    trash = Foundations.trash
    links = Foundations.links
    tag_links = Foundations.tag_links
    manifest_cache = Foundations.manifest_cache
    rounds, pins = Foundations.rounds, Foundations.pins
    change_log = Foundations.change_log
    changes = Foundations.changes
    pull_recorder, pull_history = Foundations.pull_recorder, Foundations.pull_history

    pull_through = Singleton(make_pull_through, settings, storage=blob_storage, offload=offload, metrics=metrics)
    origins = Singleton(origins_of, pull_through)
    tag_immutability = Singleton(TagImmutability, sections.access, is_cached=origins.provided.is_cached)

    guard = Singleton(
        CollectionGuard,
        rounds=rounds,
        pins=pins,
        links=links,
        trash=trash,
        cache=descriptor_cache,
        clock=Object(boot_clock),
        sleep=Object(asyncio.sleep),
        settle_seconds=storage_section.garbage_collection.settle_seconds,
        touch_seconds=Callable(touch_seconds, storage_section.garbage_collection.grace_seconds),
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
    blob_parts = Singleton(
        BlobParts,
        storage=blob_storage,
        links=links,
        cache=descriptor_hints,
        guard=guard,
        trash=trash,
        damage=damage,
        immutable_images=immutable_images,
        publisher=publisher,
        redirector=Foundations.redirector,
        shares_reads=Callable(answers_over_a_network, storage_section.kind),
    )
    blobs = Singleton(
        make_blobs,
        pull_through,
        blob_parts,
        storage=blob_storage,
        new_id=new_id,
        new_hasher=new_hasher,
        offload=offload,
        read_only=read_only,
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
        beside=offload.provided.beside,
        publisher=publisher,
        untouched=untouched_sessions,
    )
    catalog = Singleton(
        CatalogService,
        catalog_index,
        storage=blob_storage,
        page_size_max=sections.catalog.entries_max,
        lists=Callable(listing_rule, origins),
    )
    manifest_parts = Singleton(
        ManifestParts,
        storage=blob_storage,
        links=links,
        tag_links=tag_links,
        guard=guard,
        policy=Singleton(manifest_policy, sections.validation, tag_immutability),
        memory=manifest_cache,
        trash=trash,
        damage=damage,
        immutable_images=immutable_images,
        offload=offload,
        targets=Callable(target_memory, storage_section),
    )
    manifests = Singleton(
        make_manifests,
        pull_through,
        manifest_parts,
        catalog=catalog,
        read_only=read_only,
        now=now,
        changes=changes,
    )
    tags = Singleton(
        make_tags,
        pull_through,
        storage=blob_storage,
        tag_links=tag_links,
        page_size_max=sections.tags.tags_max,
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
    retention = Singleton(
        RetentionService,
        storage=blob_storage,
        tag_links=tag_links,
        pulls=pull_history,
        rules=sections.retention.rules,
        store_clock=store_clock,
        is_immutable=tag_immutability,
    )
    announcements = Singleton(
        QuarantineAnnouncements,
        rounds,
        clock=Object(time.monotonic),
        sleep=Object(asyncio.sleep),
        new_id=new_id,
        settle_seconds=storage_section.garbage_collection.settle_seconds,
        is_needed=Callable(proves, storage_section.blob_descriptor_cache),
    )
    lists = Singleton(
        Lists,
        Singleton(
            make_lists,
            settings,
            storage=blob_storage,
            tag_links=tag_links,
            log=change_log,
            read_only=read_only,
            catalog=catalog,
            referrers=referrers,
            is_immutable=tag_immutability,
            clock=Object(boot_clock),
            now=now,
            offload=offload,
        ).provider,
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
        changes=changes,
        lists=lists,
        pulls=pull_recorder,
    )

    new_verifier = Singleton(
        verifier_factory,
        storage=blob_storage,
        links=links,
        index=catalog_index,
        trash=trash,
        rules=Singleton(
            verification_rules,
            sections.validation,
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
        changes=changes,
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
        collection_lease=Foundations.collection_lease,
        new_folding=Singleton(
            make_folding,
            settings,
            storage=blob_storage,
            log=change_log,
            lists=lists,
            pulls=pull_history,
            offload=offload,
        ).provider,
        eviction_lease=Foundations.eviction_lease,
        announcements=announcements,
        new_verifier=new_verifier,
        origins=origins,
        pull_through=pull_through,
        new_mirror_service=Singleton(
            make_mirror_service, sections.mirrors, registry, storage=blob_storage, now=now
        ).provider,
        mirror_leases=Foundations.mirror_leases,
        access_keys=Foundations.access_keys,
        external=Foundations.external,
        certificates=Foundations.certificates,
    )
    server_parts = Singleton(
        ServerParts,
        settings=settings,
        authenticator=shared_authenticator,
        policy=access_policy,
        upload_secret=shared_secret,
        audit_log=audit_log,
        creates_exclusively=plain_blob_storage.provided.creates_exclusively,
        descriptor_marks=descriptor_marks,
        untouched_sessions=untouched_sessions,
        upload_use=upload_use,
    )
    server_application = Singleton(
        ServerApplication,
        **registry_application.kwargs,
        observers=observers,
        redirector=Foundations.redirector,
        authenticator=Foundations.authenticator,
        policy=access_policy,
        upload_secret=shared_secret,
        tag_immutability=tag_immutability,
        events=events,
        notifier=notifier,
        pull_recorder=pull_recorder,
        trash_interval_seconds=Foundations.trash_interval_seconds,
        trash_schedule=Foundations.trash_schedule,
        mirror_schedules=Foundations.mirror_schedules,
        retention_schedule=Foundations.retention_schedule,
        folding_schedule=Foundations.folding_schedule,
        usage_schedule=Foundations.usage_schedule,
        requested_usage=Foundations.requested_usage,
        upload_purge_schedule=Foundations.upload_purge_schedule,
        upload_purge_budget=Foundations.upload_purge_budget,
        collection_schedule=Foundations.collection_schedule,
        requested_collection=Foundations.requested_collection,
        eviction_schedule=Foundations.eviction_schedule,
        prefetch_schedules=Foundations.prefetch_schedules,
        verification_schedule=Foundations.verification_schedule,
        requested_verification=Foundations.requested_verification,
        verification_budget=Foundations.verification_budget,
        verification_options=Foundations.verification_options,
        collection_watch=Singleton(RoundWatch, rounds, clock=Object(time.monotonic)),
    )
