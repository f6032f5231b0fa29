"""The domain's services on in-memory adapters, with a stopped clock and sequential ids."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.audit_log.stream import DisabledAuditLog
from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.descriptor_cache.memory import DisabledDescriptorCache
from adapters.untouched_sessions import SharedUntouchedSessions
from core.collection.guard import CollectionGuard
from core.collection.pins import Pins
from core.collection.rounds import Rounds
from core.model.digest import Digest, HasherFactory, StandardHasher
from core.model.names import RepositoryName
from core.ports.audit_log import AuditLog
from core.ports.catalog_index import CatalogIndex
from core.ports.descriptor_cache import DescriptorCache
from core.ports.event_sink import EventSink
from core.ports.staging import StagingStorage
from core.ports.untouched_sessions import UntouchedSessions
from core.registry.blobs import BlobService
from core.registry.catalog import CatalogService
from core.registry.facade import Registry
from core.registry.immutable_images import ImmutableImages
from core.registry.manifest_references import ManifestPolicy
from core.registry.manifests import ManifestService
from core.registry.parts import BlobParts, ManifestParts
from core.registry.publisher import Publisher
from core.registry.referrers import ReferrerService
from core.registry.repositories import RepositoryService
from core.registry.tags import TagService
from core.registry.uploads import UploadService
from core.restoration.service import TrashService
from core.retention.pulls import PullHistory, PullRecorder
from core.retention.rules import RetentionRule
from core.retention.service import RetentionService
from core.store.clock import StoreClock
from core.store.damage import DamageWatch
from core.store.links import Links
from core.store.manifest_cache import ManifestCache
from core.store.tag_links import TagLinks
from core.summaries.changes import ChangeLog, ChangeRecorder
from core.summaries.lists import Lists, ListServices
from core.summaries.names import RepositoryNames
from core.summaries.repository_list import RepositoryLists
from core.summaries.service import SummaryService
from core.summaries.tag_history import HistoryService
from core.summaries.tag_list import TagLists
from core.trash.store import Trash
from tests.support.notifications import recorder_without_endpoints

NOW = datetime(2026, 11, 24, 3, 47, 56, 123456, tzinfo=UTC)


def counting_ids(first: int = 1) -> Callable[[], str]:
    numbers = itertools.count(first)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012x}"


def in_a_thread(function: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
    """Call a function in a thread, as the server does."""
    return asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def beside_this_thread(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Call a function in another thread, as the server does."""
    pool = ThreadPoolExecutor(max_workers=1)
    running = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return running.result


async def in_turn(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function after other tasks had a turn, and without a thread, so that runs are repeatable."""
    await asyncio.sleep(0)
    return function(*arguments)


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@dataclass
class CoreServices:
    """All services over one storage."""

    storage: StagingStorage = field(default_factory=lambda: InMemoryBlobStorage(now=lambda: NOW))
    policy: ManifestPolicy = field(default_factory=ManifestPolicy)
    cache: DescriptorCache = field(default_factory=DisabledDescriptorCache)
    memory: ManifestCache = field(default_factory=lambda: ManifestCache(bytes_max=0))
    """Disabled by default, so that tests see the content of storage."""
    new_hasher: HasherFactory = StandardHasher
    trash_keep: timedelta = timedelta(days=7)
    retention_rules: Sequence[RetentionRule] = ()
    new_id: Callable[[], str] = field(default_factory=counting_ids)
    offload: Callable[..., Awaitable[Any]] = in_a_thread
    beside: Callable[..., Callable[[], Any]] = beside_this_thread
    new_trash_id: Callable[[], str] = field(default_factory=counting_ids)

    rounds_storage: StagingStorage | None = None
    """Storage for the records of collectors; None means a separate store, so that tests see only their own requests."""
    rounds: Rounds | None = None
    """Reader of the rounds; None means a plain one of `rounds_storage`."""
    clock: Callable[[], float] = lambda: 0.0
    now: Callable[[], datetime] = lambda: NOW
    """The time of recorded changes."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    settle_seconds: float = 60.0
    has_immutable_tags: bool = False
    """Whether deletes check for immutable tags, as with a configured rule."""
    events: EventSink = field(default_factory=recorder_without_endpoints)
    audit_log: AuditLog = field(default_factory=DisabledAuditLog)
    pull_recorder: PullRecorder | None = None
    untouched: UntouchedSessions = field(default_factory=SharedUntouchedSessions)
    """Services of one server have this in common."""
    is_renewable: Callable[[RepositoryName], bool] | None = None
    """Whether content of a repository is fetched again when it is gone."""

    def __post_init__(self) -> None:
        self.links = Links(self.storage)
        self.tag_links = TagLinks(self.storage, self.links)
        store_clock = StoreClock(self.storage, clock=self.clock)
        self.trash = Trash(
            self.storage, now=lambda: NOW, new_id=self.new_trash_id, keep=self.trash_keep, store_clock=store_clock
        )
        guarded = InMemoryBlobStorage(now=lambda: NOW) if self.rounds_storage is None else self.rounds_storage
        self.guard = CollectionGuard(
            rounds=self.rounds or Rounds(guarded),
            pins=Pins(guarded),
            links=self.links,
            trash=self.trash,
            cache=self.cache,
            clock=self.clock,
            sleep=self.sleep,
            settle_seconds=self.settle_seconds,
            related=self.memory.related,
            is_renewable=self.is_renewable,
        )
        self.damage = DamageWatch(self.storage, new_hasher=self.new_hasher, offload=self.offload, clock=self.clock)
        self.immutable_images = ImmutableImages(
            self.storage,
            self.tag_links,
            is_immutable=self.policy.is_immutable,
            covers=lambda _name: self.has_immutable_tags,
        )
        self.publisher = Publisher(self.events, self.audit_log, now=lambda: NOW)
        self.blob_parts = BlobParts(
            storage=self.storage,
            links=self.links,
            cache=self.cache,
            guard=self.guard,
            trash=self.trash,
            damage=self.damage,
            immutable_images=self.immutable_images,
            publisher=self.publisher,
        )
        self.blobs = BlobService(self.blob_parts)
        self.uploads = UploadService(
            self.storage,
            guard=self.guard,
            damage=self.damage,
            now=lambda: NOW,
            new_id=self.new_id,
            new_hasher=self.new_hasher,
            offload=self.offload,
            beside=self.beside,
            publisher=self.publisher,
            untouched=self.untouched,
        )
        self.manifest_parts = ManifestParts(
            storage=self.storage,
            links=self.links,
            tag_links=self.tag_links,
            guard=self.guard,
            policy=self.policy,
            memory=self.memory,
            trash=self.trash,
            damage=self.damage,
            immutable_images=self.immutable_images,
            offload=self.offload,
        )
        self.manifests = ManifestService(self.manifest_parts)
        self.trash_service = TrashService(
            self.storage,
            self.trash,
            self.links,
            self.tag_links,
            guard=self.guard,
            is_immutable=self.policy.is_immutable,
        )
        self.repositories = RepositoryService(
            self.storage,
            self.links,
            self.tag_links,
            self.trash,
            guard=self.guard,
            is_immutable=self.policy.is_immutable,
        )
        self.pulls = PullHistory(self.storage, new_id=counting_ids())
        self.retention = RetentionService(
            self.storage, self.tag_links, self.pulls, rules=self.retention_rules, is_immutable=self.policy.is_immutable
        )
        self.tags = TagService(self.storage, self.tag_links, page_size_max=1000)
        self.referrers = ReferrerService(self.storage, self.links, self.tag_links)

    def registry(self, index: CatalogIndex) -> Registry:
        """Return the facade over these services."""
        catalog = CatalogService(index, storage=self.storage)
        log = ChangeLog(self.storage)
        summaries = SummaryService(
            self.storage, self.tag_links, log=log, clock=self.clock, now=self.now, offload=self.offload
        )
        services = ListServices(
            summaries=summaries,
            history=HistoryService(self.storage, self.tag_links, log=log, summaries=summaries),
            tag_lists=TagLists(
                summaries,
                is_immutable=self.policy.is_immutable,
                referrers=self.referrers.page,
                page_size_max=1000,
            ),
            repository_lists=RepositoryLists(
                summaries,
                catalog=catalog.page,
                names=RepositoryNames(catalog.page, log=log, clock=self.clock, page_size_max=1000),
                page_size_max=1000,
            ),
        )
        return Registry(
            blobs=self.blobs,
            uploads=self.uploads,
            manifests=self.manifests,
            tags=self.tags,
            referrers=self.referrers,
            trash=self.trash_service,
            repositories=self.repositories,
            retention=self.retention,
            catalog=catalog,
            publisher=self.publisher,
            changes=ChangeRecorder(self.storage, now=self.now, new_id=self.new_id),
            lists=Lists(lambda: services),
            pulls=self.pull_recorder,
        )

    async def push_blob(self, name: RepositoryName, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        await self.uploads.put(name, digest, chunks(content))
        return digest

    async def read_blob(self, name: RepositoryName, digest: Digest) -> bytes:
        async with self.blobs.open(name, digest) as reader:
            return b"".join([piece async for piece in reader])

    async def keys(self, prefix: str = "/") -> set[str]:
        return {key async for key, _ in self.storage.walk(prefix)}
