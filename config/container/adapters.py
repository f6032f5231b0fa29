"""The adapter behind each port, selected by the settings, with the caches and policies that adapters share."""

import time
from contextlib import AbstractAsyncContextManager, nullcontext

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Callable, Dependency, Object, Provider, Selector, Singleton

from adapters.audit_log.stream import DisabledAuditLog, StreamAuditLog
from adapters.auth.open import OpenAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.s3.shared_use import SharedUse
from adapters.catalog_index.listing import ListingCatalogIndex
from adapters.descriptor_cache.marks import SharedMarks
from adapters.descriptor_cache.memory import DisabledDescriptorCache, HintCache, InMemoryDescriptorCache
from adapters.descriptor_cache.shared import SharedDescriptorCache
from adapters.hashing.threads import HashingThreads
from adapters.untouched_sessions import SharedUntouchedSessions
from config.container.applications import Observers
from config.container.authenticators import (
    combined_authenticator,
    group_file,
    htpasswd_authenticator,
    kind_of_authenticator,
    reveal_or_make_secret,
    token_authenticator,
    workload_authenticator,
)
from config.container.caches import entries_max, kind_of_cache, observed_descriptor_cache, redis_cache
from config.container.redirection import make_redirector
from config.container.selected import file_audit_log, in_memory_storage, local_file_index
from config.container.storages import (
    mysql_address,
    mysql_catalog_index,
    observed_blob_storage,
    preset_blob_storage,
    s3_blob_storage,
    scs_blob_storage,
)
from config.container.surroundings import new_hasher, new_id, utc_now
from config.policies import access_policy
from config.settings import Settings
from config.streams import UnblockedStream
from core.ports.audit_log import AuditLog
from core.ports.authenticator import Authenticator
from core.ports.catalog_index import CatalogIndex
from core.ports.descriptor_cache import DescriptorCache
from core.ports.staging import StagingStorage
from core.store import layout
from core.store.certificate_objects import CERTIFICATES


class Adapters(DeclarativeContainer):
    """The adapters of one registry; `settings` must be provided."""

    settings = Dependency(instance_of=Settings)
    # Each `provided` and each part of it is a provider, which every container copies: ask once.
    sections = settings.provided
    storage_section = sections.storage

    now = Object(utc_now)
    new_id = Object(new_id)

    makes_store: Object[bool] = Object(provides=True)
    """Whether a missing store is created; commands that only inspect a store set this to False."""

    observers: Object[Observers] = Object(Observers())
    """Metrics and traces of the process; a server gives its own."""
    metrics = observers.provided.metrics
    tracer = observers.provided.tracer

    upload_use = Singleton(SharedUse)
    preset_storage = Singleton(preset_blob_storage, storage_section, upload_use)
    plain_blob_storage: Provider[StagingStorage] = Selector(
        storage_section.kind,
        inmemory=Singleton(in_memory_storage, now),
        filesystem=Singleton(
            FilesystemBlobStorage,
            root_directory=storage_section.filesystem.root_directory,
            threads_max=storage_section.filesystem.max_threads,
            makes_root=makes_store,
            reserved_for=Object((*layout.HOUSEKEEPING, CERTIFICATES)),
        ),
        s3=Singleton(s3_blob_storage, storage_section, upload_use),
        scs=Singleton(scs_blob_storage, storage_section, upload_use),
        gcs=preset_storage,
        oss=preset_storage,
        swift=preset_storage,
    )
    blob_storage = Singleton(observed_blob_storage, plain_blob_storage, metrics, tracer)
    redirector = Singleton(make_redirector, settings, blob_storage)
    catalog_index: Provider[CatalogIndex] = Selector(
        sections.catalog.backend,
        LISTING=Singleton(ListingCatalogIndex, storage=blob_storage),
        MYSQL=Singleton(mysql_catalog_index, Callable(mysql_address, sections.catalog.mysql_dsn), now=now),
        LOCAL=Singleton(local_file_index, sections.catalog.local_path),
    )

    audit_log: Provider[AuditLog] = Selector(
        sections.audit.kind,
        disabled=Singleton(DisabledAuditLog),
        stream=Singleton(StreamAuditLog, Singleton(UnblockedStream, 1)),
        file=Singleton(file_audit_log, sections.audit),
    )

    shared_secret = Singleton(reveal_or_make_secret, sections.http.secret)
    access_policy = Singleton(access_policy, sections.auth, sections.access)
    htpasswd = Singleton(
        htpasswd_authenticator,
        sections.auth.htpasswd,
        Singleton(group_file, sections.access.group_file),
        clock=Object(time.monotonic),
    )
    tokens = Singleton(token_authenticator, sections.auth.token, now=now)
    workloads = Singleton(workload_authenticator, sections.auth.workloads, now=now, clock=Object(time.monotonic))
    shared_authenticator: Provider[Authenticator] = Selector(
        Callable(kind_of_authenticator, sections.auth),
        none=Singleton(OpenAuthenticator),
        silly=Singleton(
            SillyAuthenticator,
            realm=sections.auth.silly.realm,
            service=sections.auth.silly.service,
        ),
        htpasswd=htpasswd,
        token=tokens,
        combined=Singleton(
            combined_authenticator,
            sections.auth,
            htpasswd=htpasswd.provider,
            tokens=tokens.provider,
            workloads=workloads.provider,
        ),
    )
    descriptor_marks = Singleton(SharedMarks)
    untouched_sessions = Singleton(SharedUntouchedSessions)
    own_descriptors = Singleton(
        InMemoryDescriptorCache,
        now=now,
        marks=descriptor_marks,
        entries_max=Callable(entries_max, storage_section.blob_descriptor_cache_entries_max),
    )
    shared_descriptors = Singleton(redis_cache, sections.redis, metrics)
    descriptor_cache_kind = Callable(kind_of_cache, storage_section)
    plain_descriptor_cache: Provider[DescriptorCache] = Selector(
        descriptor_cache_kind,
        none=Singleton(DisabledDescriptorCache),
        hints=Singleton(HintCache, own_descriptors),
        inmemory=own_descriptors,
        redis=Singleton(SharedDescriptorCache, own_descriptors, shared_descriptors, trusts_one_hit=False),
    )
    descriptor_cache = Singleton(observed_descriptor_cache, plain_descriptor_cache, metrics)
    # For pulls, which detect a wrong hint themselves. Opened and closed with `descriptor_cache`.
    one_hit_cache = Singleton(SharedDescriptorCache, own_descriptors, shared_descriptors, trusts_one_hit=True)
    descriptor_hints: Provider[DescriptorCache] = Selector(
        descriptor_cache_kind,
        none=descriptor_cache,
        hints=Singleton(observed_descriptor_cache, own_descriptors, metrics),
        inmemory=descriptor_cache,
        redis=Singleton(observed_descriptor_cache, one_hit_cache, metrics),
    )
    outbox_storage: Provider[StagingStorage] = Selector(
        sections.notifications.outbox.backend,
        storage=blob_storage,
        local=Singleton(FilesystemBlobStorage, root_directory=sections.notifications.outbox.path),
        memory=Singleton(in_memory_storage, now),
    )
    outbox_lifetime: Provider[AbstractAsyncContextManager[object]] = Selector(
        sections.notifications.outbox.backend,
        storage=Singleton(nullcontext),
        local=outbox_storage,
        memory=outbox_storage,
    )
    new_hasher = Object(new_hasher)
    offload = Singleton(HashingThreads)
