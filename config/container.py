"""The composition root: which adapter stands behind each port, and who is given what.

The graph is built without awaiting anything; whoever uses it enters `blob_storage` and `catalog_index`, in this
order, as context managers, and leaves them in reverse.
"""

import asyncio
import os
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Callable as CallableType
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Callable, Dependency, Factory, Object, Selector, Singleton

from adapters.audit_log.file import FileAuditLog
from adapters.audit_log.stream import DisabledAuditLog, StreamAuditLog
from adapters.auth.groups import GroupFile
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.open import OpenAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.blob_storage.filesystem import FilesystemBlobStorage
from adapters.blob_storage.instrumented import InstrumentedBlobStorage, Observer
from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.go_dsn import DsnInvalidError, MySqlAddress, parse_go_dsn
from adapters.catalog_index.listing import ListingCatalogIndex
from adapters.catalog_index.local_file import LocalFileCatalogIndex
from adapters.catalog_index.mysql import MySqlCatalogIndex
from adapters.descriptor_cache.instrumented import InstrumentedDescriptorCache
from adapters.descriptor_cache.marks import SharedMarks
from adapters.descriptor_cache.memory import DisabledDescriptorCache, InMemoryDescriptorCache
from adapters.descriptor_cache.shared import SharedDescriptorCache
from adapters.hashing.resumable import hasher_factory
from adapters.image_layout.archive import ArchiveImageLayout, ArchiveImageLayoutWriter
from adapters.image_layout.folder import FolderImageLayout
from adapters.metrics.storage import CacheCounts, storage_observer
from config.errors import ConfigError
from config.notifications import event_source, outbox_bounds, recorder_options
from config.policies import KeptTags, access_policy, manifest_policy, retention_rules, verification_rules
from config.settings import (
    AuthKind,
    DescriptorCache,
    NotificationSettings,
    RedisSettings,
    S3Settings,
    ScsSettings,
    Secret,
    Settings,
    TokenSettings,
    VerificationSettings,
)
from config.version import installed_version
from core import layout
from core.access import AccessPolicy
from core.budget import Budget, Rates
from core.collection.collector import JOB, Collector
from core.collection.guard import TOUCH_SECONDS, CollectionGuard
from core.collection.rounds import Rounds
from core.collection.spares import Spares
from core.digest import Digest
from core.lease import Lease
from core.links import Links
from core.manifest_cache import ManifestCache
from core.notifications.endpoint import Endpoint
from core.notifications.notifier import Notifier
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder
from core.notifications.upkeep import Upkeep
from core.ports.authenticator import Authenticator
from core.ports.blob_storage import BlobStorage
from core.ports.descriptor_cache import DescriptorCache as DescriptorCachePort
from core.ports.image_layout import ImageLayout, ImageLayoutWriter
from core.ports.metrics import Metrics
from core.ports.tracing import Tracer
from core.pulls import PullHistory, PullRecorder
from core.read_only import ReadOnlySwitch
from core.registry import Registry
from core.schedule import SharedSchedule
from core.services.blobs import BlobService
from core.services.catalog import CatalogService
from core.services.manifests import ManifestService
from core.services.referrers import ReferrerService
from core.services.repositories import RepositoryService
from core.services.retention import RetentionService
from core.services.tags import TagService
from core.services.trash import TrashService
from core.services.uploads import UploadService
from core.tag_links import TagLinks
from core.trash import Trash
from core.verification.announcement import Announcements
from core.verification.verifier import VerificationOptions, Verifier

T = TypeVar("T")

LEASE_SECONDS: Final = 30.0
"""How long the job of a replica that died stays undone, about."""
TRASH_INTERVAL_SECONDS: Final = 3600.0
"""How often expired trash is looked for, at most."""
PURGE_REQUESTS_PER_SECOND: Final = 20.0
"""What looking for abandoned uploads may ask of the store."""


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)  # noqa: TID251 - the one clock that the others are given


def _owner_id() -> str:
    """Name this process among those of all replicas, for people too."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def _lease(job: str, *, storage: BlobStorage, ttl: float = LEASE_SECONDS) -> Lease:
    return Lease(storage, layout.lease(job), owner_id=_owner_id(), ttl=ttl, clock=boot_clock, sleep=asyncio.sleep)


def _schedule(job: str, *, storage: BlobStorage, interval_seconds: float) -> SharedSchedule:
    interval = timedelta(seconds=interval_seconds)
    return SharedSchedule(storage, _lease(job, storage=storage), key=layout.job(job), interval=interval)


def _verification_schedule(
    options: VerificationOptions, *, storage: BlobStorage, interval_seconds: float
) -> SharedSchedule:
    # The command takes the same lease.
    return _schedule(options.job, storage=storage, interval_seconds=interval_seconds)


def _verification_budget(settings: VerificationSettings) -> Budget:
    rates = Rates(requests_per_second=settings.requests_per_second, bytes_per_second=settings.bytes_per_second)
    return Budget(rates, clock=time.monotonic, sleep=asyncio.sleep)


def _budget(requests_per_second: float) -> Budget:
    return Budget(Rates(requests_per_second=requests_per_second), clock=time.monotonic, sleep=asyncio.sleep)


def new_id() -> str:
    """Make the id of an upload session or an event."""
    return str(uuid.uuid4())


def _process_name() -> str:
    return secrets.token_hex(4)


class HashingThreads:
    """Hashes off the event loop, in as many threads as there are cores: hashing releases the interpreter lock."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="hashing")

    def __call__(self, function: CallableType[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        """Start `function(*arguments)` at once and return what to await for its result."""
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _options(options: type[T], settings: S3Settings | ScsSettings) -> T:
    """Make an adapter's options, whose fields have the names of ours; secrets go no further than this."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return options(**{name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()})


# What is imported in the functions below is large, and most registries do without it: the SDK of object stores takes
# longer to import than all the rest, and 25 MB.


def _s3_blob_storage(settings: S3Settings) -> BlobStorage:
    from adapters.blob_storage.s3 import S3BlobStorage, S3Options  # noqa: PLC0415

    return S3BlobStorage(_options(S3Options, settings))


def _scs_blob_storage(settings: ScsSettings) -> BlobStorage:
    from adapters.blob_storage.scs import ScsBlobStorage, ScsOptions  # noqa: PLC0415

    return ScsBlobStorage(_options(ScsOptions, settings))


def _metrics(folder: Path | None, worker_number: CallableType[[], int]) -> Metrics | None:
    if folder is None:
        # Switched off, or a command that nobody collects from.
        return None
    from adapters.metrics.prometheus import PrometheusMetrics  # noqa: PLC0415

    return PrometheusMetrics(folder, worker_number)


def _can_trace() -> bool:
    """Whether the packages of the extra `otel` are installed; all processes share what this imports."""
    try:
        import_module("adapters.tracing.otel")
    except ImportError:
        return False
    return True


def _tracer(exporters: Sequence[str]) -> Tracer | None:
    if not exporters:
        return None
    from adapters.tracing.otel import OtelTracer, make_exporters  # noqa: PLC0415

    return OtelTracer(make_exporters(exporters), version=installed_version())


def _job_metrics() -> Metrics:
    from adapters.metrics.single import SingleProcessMetrics  # noqa: PLC0415

    return SingleProcessMetrics()


def _observed_blob_storage(storage: BlobStorage, metrics: Metrics | None, tracer: Tracer | None) -> BlobStorage:
    observers: list[Observer] = []
    if metrics is not None:
        observers.append(storage_observer(metrics, storage.name))
    if tracer is not None:
        observers.append(tracer.storage_observer(storage.name))
    if not observers:
        return storage

    def observe(operation: str, seconds: float, error: type[BaseException] | None) -> None:
        for each in observers:
            each(operation, seconds, error)

    return InstrumentedBlobStorage(
        storage, observe=observers[0] if len(observers) == 1 else observe, clock=time.perf_counter
    )


def _observed_descriptor_cache(cache: DescriptorCachePort, metrics: Metrics | None) -> DescriptorCachePort:
    # A cache that remembers nothing would be counted as one that always misses.
    if metrics is None or isinstance(cache, DisabledDescriptorCache):
        return cache
    return InstrumentedDescriptorCache(cache, observe=CacheCounts(metrics))


def _descriptor_cache_kind(configured: DescriptorCache | None) -> str:
    return "disabled" if configured is None else configured.value


def _redis_cache(settings: RedisSettings, metrics: Metrics | None) -> DescriptorCachePort:
    from adapters.descriptor_cache.redis import RedisDescriptorCache  # noqa: PLC0415
    from adapters.descriptor_cache.redis_client import RedisOptions, RedisTlsOptions  # noqa: PLC0415

    io_timeout = max(settings.read_timeout_seconds, settings.write_timeout_seconds)
    tls = settings.tls
    options = RedisOptions(
        servers=tuple(_host_and_port(address) for address in settings.addrs),
        master_name=settings.master_name,
        username=settings.username,
        password=settings.password.reveal() if settings.password else None,
        sentinel_username=settings.sentinel_username,
        sentinel_password=settings.sentinel_password.reveal() if settings.sentinel_password else None,
        db=settings.db,
        client_name=settings.client_name,
        protocol=settings.protocol,
        retries_max=settings.retries_max,
        retry_backoff_seconds_min=settings.retry_backoff_seconds_min,
        retry_backoff_seconds_max=settings.retry_backoff_seconds_max,
        dial_timeout_seconds=settings.dial_timeout_seconds,
        io_timeout_seconds=io_timeout,
        pool_timeout_seconds=settings.pool_timeout_seconds or io_timeout + 1,
        connections_max=settings.connections_max or settings.pool_size or None,
        tls=None
        if not tls.is_used
        else RedisTlsOptions(certificate=tls.certificate, key=tls.key, root_certificates=_joined(tls.root_cas)),
    )
    if metrics is None:
        return RedisDescriptorCache(options, clock=boot_clock)
    return RedisDescriptorCache(options, clock=boot_clock, on_error=CacheCounts(metrics).failed)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]") or "localhost", int(port)


def _joined(paths: Sequence[str]) -> str | None:
    """Return the content of PEM files, one after the other; None where there are none."""
    try:
        return "\n".join(Path(path).read_text(encoding="ascii") for path in paths) or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"`redis.tls.rootcas`: cannot be read: {error}"]) from None


def _mysql_address(dsn: Secret) -> MySqlAddress:
    try:
        return parse_go_dsn(dsn.reveal())
    except DsnInvalidError as error:
        raise ConfigError([f"`catalog.mysql.dsn` (SEARCH_BACKEND_MYSQL): {error}"]) from None


def _shared_secret(configured: Secret | None) -> bytes:
    # A random one serves a single process until it ends; `serve` warns.
    return configured.reveal().encode() if configured else secrets.token_bytes(32)


def _group_file(path: str | None) -> GroupFile | None:
    return GroupFile(path) if path else None


def _authenticator_kind(kind: AuthKind, policy: AccessPolicy) -> str:
    # Where something is open to everybody, docker needs a token server to come without a password.
    return "login" if kind is AuthKind.HTPASSWD and policy.invites_anonymous else kind.value


def _login_authenticator(
    users: HtpasswdAuthenticator, *, secret: bytes, now: CallableType[[], datetime]
) -> Authenticator:
    from adapters.auth.login_tokens import LoginTokenAuthenticator  # noqa: PLC0415

    return LoginTokenAuthenticator(users, recall=users.recall, secret=secret, now=now)


def _token_authenticator(settings: TokenSettings, *, now: CallableType[[], datetime]) -> Authenticator:
    from adapters.auth.token import TokenAuthenticator  # noqa: PLC0415

    return TokenAuthenticator(
        realm=settings.realm,
        issuer=settings.issuer,
        service=settings.service,
        certificates_path=settings.root_cert_bundle,
        key_set_path=settings.jwks,
        algorithms=settings.signing_algorithms,
        redirect_path=settings.auto_redirect_path if settings.auto_redirect else None,
        now=now,
    )


def event_endpoints(settings: NotificationSettings) -> tuple[Endpoint, ...]:
    """Make the endpoints that are told of events; again after a reload."""
    from adapters.notifications.http_receiver import HttpEventReceiver  # noqa: PLC0415

    media_type = recorder_options(settings).envelope.value
    return tuple(
        Endpoint(
            name=each.name,
            receiver=HttpEventReceiver(
                each.url,
                media_type=media_type,
                headers={name: [value.reveal() for value in values] for name, values in each.headers.items()},
                timeout_seconds=each.timeout_seconds,
            ),
            ignored_media_types=frozenset(each.ignored_media_types),
            ignored_actions=frozenset(each.ignored_actions),
            threshold=each.threshold,
            backoff_seconds=each.backoff_seconds,
        )
        for each in settings.endpoints
        if not each.disabled
    )


def _event_recorder(outbox: Outbox, settings: Settings) -> EventRecorder:
    recorder = EventRecorder(
        outbox,
        recorder_options(settings.notifications),
        source=event_source(settings.http.addr, new_id),
        now=utc_now,
        new_id=new_id,
    )
    recorder.use(event_endpoints(settings.notifications))
    return recorder


def _notifier(
    outbox: Outbox, recorder: EventRecorder, storage: BlobStorage, settings: NotificationSettings
) -> Notifier:
    notifier = Notifier(
        outbox,
        recorder,
        _lease("notifications", storage=storage, ttl=settings.outbox.takeover_seconds),
        Upkeep(outbox, outbox_bounds(settings.outbox), now=utc_now),
        poll_seconds=settings.outbox.poll_seconds,
        # Each look is a request, by every server that does not deliver.
        contend_seconds=settings.outbox.takeover_seconds / 2,
        clock=time.monotonic,
        sleep=asyncio.sleep,
    )
    notifier.use(event_endpoints(settings), recorder_options(settings))
    return notifier


def read_image_layout(path: Path) -> ImageLayout:
    """Return the OCI image layout that lies in a folder or in a tar archive."""
    return FolderImageLayout(path) if path.is_dir() else ArchiveImageLayout(path)


def write_image_layout(path: Path) -> ImageLayoutWriter:
    """Return a layout to write: an archive if it is to be called `.tar`, else a folder, which may hold one already."""
    return ArchiveImageLayoutWriter(path) if path.suffix == ".tar" else FolderImageLayout(path, creates=True)


def _entry_id() -> str:
    # Short enough to be read aloud; the time and the kind stand beside it.
    return uuid.uuid4().hex[:16]


def boot_clock() -> float:
    """Tell seconds that go on while the machine is suspended, as those of `time.monotonic` do not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _touch_seconds(grace_seconds: float) -> float:
    # Whoever wants space back sooner also has pushes that take less time.
    return min(TOUCH_SECONDS, grace_seconds)


def _trash_interval_seconds(keep_seconds: float) -> float:
    # A short time to keep is looked after as often; without any there is still what a killed collection left.
    return min(keep_seconds or TRASH_INTERVAL_SECONDS, TRASH_INTERVAL_SECONDS)


def _duration(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _is_configured(cache: DescriptorCache | None) -> bool:
    return cache is not None


def _entries_max(configured: int) -> int:
    return configured or sys.maxsize


def _related_of(cache: ManifestCache) -> CallableType[[Digest], Sequence[Digest]]:
    # Not `provided.related`, which is a provider's own attribute.
    return cache.related


class Container(DeclarativeContainer):
    """One registry; `settings` must be given."""

    settings = Dependency(instance_of=Settings)

    now = Object(utc_now)
    new_id = Object(new_id)

    runtime_folder: Object[Path | None] = Object(None)
    """The folder of the running server's metrics, and what tells the worker's number; the server sets them."""
    worker_number: Object[CallableType[[], int]] = Object(lambda: 0)
    can_trace = Callable(_can_trace)
    metrics = Singleton(_metrics, runtime_folder, worker_number)
    job_metrics = Singleton(_job_metrics)
    """What a command counts, to write it to a file."""
    tracing_exporters = Object(())
    """Where spans go; the server sets it."""
    tracer = Singleton(_tracer, tracing_exporters)

    plain_blob_storage = Selector(
        settings.provided.storage.kind,
        inmemory=Singleton(InMemoryBlobStorage, now=now),
        filesystem=Singleton(
            FilesystemBlobStorage,
            root_directory=settings.provided.storage.filesystem.root_directory,
            threads_max=settings.provided.storage.filesystem.max_threads,
        ),
        s3=Singleton(_s3_blob_storage, settings.provided.storage.s3),
        scs=Singleton(_scs_blob_storage, settings.provided.storage.scs),
    )
    blob_storage = Singleton(_observed_blob_storage, plain_blob_storage, metrics, tracer)
    catalog_index = Selector(
        settings.provided.catalog.backend,
        LISTING=Singleton(ListingCatalogIndex, storage=blob_storage),
        MYSQL=Singleton(
            MySqlCatalogIndex,
            address=Callable(_mysql_address, settings.provided.catalog.mysql_dsn),
            now=now,
        ),
        LOCAL=Singleton(LocalFileCatalogIndex, path=Singleton(Path, settings.provided.catalog.local_path)),
    )

    audit_log = Selector(
        settings.provided.audit.kind,
        disabled=Singleton(DisabledAuditLog),
        stream=Singleton(StreamAuditLog),
        file=Singleton(FileAuditLog, Singleton(Path, settings.provided.audit.file), sync=settings.provided.audit.sync),
    )

    shared_secret = Singleton(_shared_secret, settings.provided.http.secret)
    kept_tags = Singleton(KeptTags, settings.provided.access)
    access_policy = Singleton(access_policy, settings.provided.auth, settings.provided.access)
    htpasswd = Singleton(
        HtpasswdAuthenticator,
        realm=settings.provided.auth.htpasswd.realm,
        path=settings.provided.auth.htpasswd.path,
        clock=Object(time.monotonic),
        groups=Singleton(_group_file, settings.provided.access.group_file),
    )
    authenticator = Selector(
        Callable(_authenticator_kind, settings.provided.auth.kind, access_policy),
        none=Singleton(OpenAuthenticator),
        silly=Singleton(
            SillyAuthenticator,
            realm=settings.provided.auth.silly.realm,
            service=settings.provided.auth.silly.service,
        ),
        htpasswd=htpasswd,
        login=Singleton(_login_authenticator, htpasswd, secret=shared_secret, now=now),
        token=Singleton(_token_authenticator, settings.provided.auth.token, now=now),
    )
    # Made before a server forks.
    descriptor_marks = Singleton(SharedMarks)
    own_descriptors = Singleton(
        InMemoryDescriptorCache,
        now=now,
        marks=descriptor_marks,
        entries_max=Callable(_entries_max, settings.provided.storage.blob_descriptor_cache_entries_max),
    )
    shared_descriptors = Singleton(_redis_cache, settings.provided.redis, metrics)
    descriptor_cache_kind = Callable(_descriptor_cache_kind, settings.provided.storage.blob_descriptor_cache)
    plain_descriptor_cache = Selector(
        descriptor_cache_kind,
        disabled=Singleton(DisabledDescriptorCache),
        inmemory=own_descriptors,
        redis=Singleton(SharedDescriptorCache, own_descriptors, shared_descriptors, believes_others=False),
    )
    descriptor_cache = Singleton(_observed_descriptor_cache, plain_descriptor_cache, metrics)
    # What a pull may believe: that it was wrong, it finds out by itself. Opened and closed with the one above.
    believing_cache = Singleton(SharedDescriptorCache, own_descriptors, shared_descriptors, believes_others=True)
    descriptor_hints = Selector(
        descriptor_cache_kind,
        disabled=descriptor_cache,
        inmemory=descriptor_cache,
        redis=Singleton(_observed_descriptor_cache, believing_cache, metrics),
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
    outbox = Singleton(Outbox, storage=outbox_storage, process=Singleton(_process_name), now=now)
    events = Singleton(_event_recorder, outbox, settings)
    notifier = Singleton(
        _notifier,
        outbox,
        events,
        storage=outbox_storage,
        settings=settings.provided.notifications,
    )

    trash = Singleton(
        Trash,
        storage=blob_storage,
        now=now,
        new_id=Object(_entry_id),
        keep=Callable(_duration, settings.provided.storage.trash_keep_seconds),
    )
    trash_interval_seconds = Callable(_trash_interval_seconds, settings.provided.storage.trash_keep_seconds)
    trash_expiry_schedule = Singleton(
        _schedule, "expire-trash", storage=blob_storage, interval_seconds=trash_interval_seconds
    )
    upload_purge_schedule = Singleton(
        _schedule,
        "purge-uploads",
        storage=blob_storage,
        interval_seconds=settings.provided.storage.upload_purging.interval_seconds,
    )
    upload_purge_budget = Singleton(_budget, PURGE_REQUESTS_PER_SECOND)

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
        touch_seconds=Callable(_touch_seconds, settings.provided.storage.garbage_collection.grace_seconds),
        related=Callable(_related_of, manifest_cache),
    )
    blobs = Singleton(BlobService, storage=blob_storage, links=links, cache=descriptor_hints, guard=guard, trash=trash)
    uploads = Singleton(
        UploadService,
        storage=blob_storage,
        links=links,
        guard=guard,
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
    pull_recorder = Singleton(
        PullRecorder, storage=blob_storage, clock=Object(time.monotonic), new_id=Object(_entry_id)
    )
    retention = Singleton(
        RetentionService,
        storage=blob_storage,
        tag_links=tag_links,
        pulls=Singleton(PullHistory, storage=blob_storage, new_id=Object(_entry_id)),
        rules=Singleton(retention_rules, settings.provided.retention),
        keeps_tag=kept_tags,
    )
    retention_schedule = Singleton(
        _schedule,
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
        is_needed=Callable(_is_configured, settings.provided.storage.blob_descriptor_cache),
    )
    collection_lease = Factory(_lease, JOB, storage=blob_storage)
    collection_schedule = Singleton(
        SharedSchedule,
        blob_storage,
        Singleton(_lease, JOB, storage=blob_storage),
        key=layout.job(JOB),
        interval=Callable(_duration, settings.provided.storage.garbage_collection.interval_seconds),
    )
    collector = Factory(
        Collector,
        blob_storage,
        links=links,
        trash=trash,
        cache=descriptor_cache,
    )
    """Is given its budget, options and surroundings by whoever collects."""
    verification_options = Singleton(VerificationOptions, repair=settings.provided.storage.verification.repair)
    verification_schedule = Singleton(
        _verification_schedule,
        verification_options,
        storage=blob_storage,
        interval_seconds=settings.provided.storage.verification.interval_seconds,
    )
    verification_budget = Singleton(_verification_budget, settings.provided.storage.verification)
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
    )
    """Is given its budget, and how it announces what it takes away, by whoever verifies."""
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
