"""The pull-through cache of one process: its upstreams and its parts, built from the settings."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from adapters.metrics.upstreams import IgnoredCounts, UpstreamCounts, fetch_observer
from adapters.spool.folder import FolderSpool
from adapters.upstream.instrumented import InstrumentedUpstream
from config.container.spooling import prepare_spool, spool_folder
from config.container.surroundings import boot_clock, entry_id
from config.errors import ConfigError
from config.settings import ProxySettings, Settings, UpstreamOptions
from core.content_source import Offload
from core.coordination.read_only import ReadOnlySwitch
from core.errors import StorageError
from core.model.digest import Digest, HasherFactory
from core.model.names import RepositoryName, Tag
from core.model.sizes import Space
from core.ports.blob_storage import BlobStorage
from core.ports.metrics import Metrics
from core.ports.resource import Resource
from core.ports.spool import Spool
from core.ports.staging import StagingStorage
from core.ports.upstream import Upstream
from core.pull_through.absences import Absences
from core.pull_through.admission import Admission, LimitedAdmission
from core.pull_through.blobs import CachedBlobs
from core.pull_through.claims import Claims
from core.pull_through.fetching import Fetcher
from core.pull_through.filling import FetchTools, Observe
from core.pull_through.limits import CacheLimits
from core.pull_through.manifests import CachedManifests
from core.pull_through.origins import Origins
from core.pull_through.pauses import Pauses
from core.pull_through.referrers import CachedReferrers
from core.pull_through.repositories import CachedRepositories
from core.pull_through.storing import FetchedBlobStore
from core.pull_through.tag_state import TagStates
from core.pull_through.tags import CachedTags
from core.pull_through.turns import Turns
from core.registry.blobs import BlobService
from core.registry.catalog import CatalogService
from core.registry.manifests import ManifestService
from core.registry.parts import BlobParts, ManifestParts
from core.registry.referrers import ReferrerService
from core.registry.repositories import RepositoryService
from core.registry.tags import TagService
from core.summaries.changes import ChangeKind, ChangeRecorder

_logger = logging.getLogger(__name__)


def open_cache(
    settings: Settings, proxy: ProxySettings, *, storage: BlobStorage, offload: Offload, metrics: Metrics | None
) -> "PullThrough":
    """Return the cache of the configured upstreams."""
    origins = Origins([(each, observed_upstream(http_upstream(each), metrics)) for each in proxy.all_upstreams])
    folder = spool_folder(settings, proxy)
    return PullThrough(
        origins,
        FolderSpool(str(folder), offload=offload),
        states=TagStates(storage),
        admission=make_admission(storage, proxy.limits),
        idle_seconds=proxy.cache_write_timeout_seconds or None,
        observe_fetch=fetch_observer(metrics, origins),
        clock=boot_clock,
        folder=folder,
    )


async def _record_move(changes: ChangeRecorder, name: RepositoryName, tag: Tag, digest: Digest) -> None:
    """Record that a cached tag moved, for the history of the tag."""
    await changes.record(ChangeKind.PUSH, name, tags=[(tag, digest)], by="cache")


def make_admission(storage: BlobStorage, limits: CacheLimits) -> Admission:
    """Return the admission to the cache, with its limits of space."""
    if not limits.size_bytes and limits.free == Space():
        return Admission()
    return LimitedAdmission(storage, process=entry_id, size_max=limits.size_bytes or None, free_min=limits.free.of)


async def _flush(admission: Admission) -> None:
    if isinstance(admission, LimitedAdmission):
        try:
            await admission.flush()
        except StorageError as error:
            _logger.warning("growth of the cache not recorded: %s", error)


def http_upstream(options: UpstreamOptions) -> Upstream:
    """Return the adapter for one upstream."""
    # Imported only when needed: the web client takes time and memory.
    from adapters.upstream.http import HttpUpstream  # noqa: PLC0415

    # The upstream of all other names has no prefix, but a host that follows from its URL.
    name = options.prefix or next(iter(options.hosts), options.urls[0])
    try:
        return HttpUpstream(name, options)
    except ValueError as error:
        raise ConfigError([f"`proxy.upstreams`: {name}: {error}"]) from None


def observed_upstream(upstream: Upstream, metrics: Metrics | None) -> Upstream:
    """Return the upstream, with metrics if they are collected, and with one warning per outage in any case."""
    observer = IgnoredCounts() if metrics is None else UpstreamCounts(metrics, upstream.name)
    return InstrumentedUpstream(upstream, observer=observer, clock=boot_clock)


class PullThrough(Resource):
    """The parts of the cache that its services share. Opening sends no request.

    Args:
        origins: the upstreams with their rules.
        spool: the blobs in flight.
        states: the records of tags.
        admission: decides whether fetched content is stored.
        idle_seconds: how long a fetch waits for the next bytes; None means without limit.
        observe_fetch: called at each event of a fetch.
        clock: monotonic seconds.
        folder: the folder of the spool.
    """

    def __init__(
        self,
        origins: Origins,
        spool: Spool,
        *,
        states: TagStates,
        admission: Admission,
        idle_seconds: float | None,
        observe_fetch: Observe,
        clock: Callable[[], float],
        folder: Path,
    ) -> None:
        self.origins = origins
        self.spool = spool
        self.states = states
        self.absences = Absences(clock=clock)
        self.pauses = Pauses(clock=clock)
        self.claims = Claims()
        self.admission = admission
        self.idle_seconds = idle_seconds
        self.observe_fetch = observe_fetch
        self.lifetimes: list[AbstractAsyncContextManager[object]] = []
        """Opened after the upstreams, and closed before them."""
        self.before_close: list[Callable[[], Awaitable[None]]] = [partial(_flush, admission)]
        """Ends the work of the services, in the reverse order, before anything is closed."""
        self._folder = folder
        self._open = AsyncExitStack()

    def blobs(
        self,
        parts: BlobParts,
        *,
        storage: StagingStorage,
        new_id: Callable[[], str],
        new_hasher: HasherFactory,
        offload: Offload,
        read_only: ReadOnlySwitch,
    ) -> BlobService:
        """Return the service for blobs, which fetches those that are absent."""
        store = FetchedBlobStore(
            storage,
            parts.links,
            guard=parts.guard,
            damage=parts.damage,
            new_id=new_id,
            admission=self.admission,
            is_read_only=lambda: read_only.is_on,
        )
        tools = FetchTools(
            spool=self.spool,
            store=store,
            new_hasher=new_hasher,
            offload=offload,
            sleep=asyncio.sleep,
            observe=self.observe_fetch,
            idle_seconds=self.idle_seconds,
        )
        fetcher = Fetcher(tools)
        self.lifetimes.append(fetcher)
        return CachedBlobs(
            parts,
            origins=self.origins,
            fetcher=fetcher,
            store=store,
            claims=self.claims,
            absences=self.absences,
        )

    def manifests(
        self,
        parts: ManifestParts,
        *,
        catalog: CatalogService,
        read_only: ReadOnlySwitch,
        now: Callable[[], datetime],
        changes: ChangeRecorder,
    ) -> ManifestService:
        """Return the service for manifests, which checks cached tags at their upstream."""
        service = CachedManifests(
            parts,
            origins=self.origins,
            states=self.states,
            absences=self.absences,
            pauses=self.pauses,
            turns=Turns(self.spool),
            now=now,
            claim=self.claims.note,
            require_writable=read_only.require_writable,
            admits=self.admission.make_room,
            announce=catalog.record_push,
            moved=partial(_record_move, changes),
        )
        self.before_close.append(service.close)
        return service

    def tags(self, *, clock: Callable[[], float], **parts: Any) -> TagService:
        """Return the service for tag lists, which adds those of the upstreams."""
        service = CachedTags(**parts, origins=self.origins, pauses=self.pauses, clock=clock)
        self.before_close.append(service.close)
        return service

    def referrers(self, *, clock: Callable[[], float], **parts: Any) -> ReferrerService:
        """Return the service for referrers, which adds those of the upstreams."""
        service = CachedReferrers(**parts, origins=self.origins, pauses=self.pauses, clock=clock)
        self.before_close.append(service.close)
        return service

    def repositories(self, **parts: Any) -> RepositoryService:
        """Return the service that deletes repositories, with the records of their tags."""
        return CachedRepositories(**parts, origins=self.origins, states=self.states)

    @override
    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(prepare_spool, self._folder)
            for _, upstream in self.origins.upstreams:
                await stack.enter_async_context(upstream)
            for part in self.lifetimes:
                await stack.enter_async_context(part)
            for end in self.before_close:
                stack.push_async_callback(end)
            self._open = stack.pop_all()

    @override
    async def stop(self) -> None:
        await self._open.aclose()
