"""The domain's services and a garbage collector on one in-memory store and on simulated time."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from core.collection.collector import Collector
from core.collection.report import CollectionReport
from core.collection.run import CollectionOptions, CollectorContext
from core.coordination.budget import Budget, Rates
from core.errors import BlobUnknownError, ManifestUnknownError
from core.model import media_types
from core.model.digest import Digest
from core.model.manifest import read_manifest
from core.model.names import RepositoryName, Tag
from core.ports.staging import StagingStorage
from core.store.links import Links
from core.store.manifest_cache import ManifestCache
from core.trash.store import Trash
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices, counting_ids, in_turn
from tests.support.simulated_time import SimulatedTime

T = TypeVar("T")

SETTLE_SECONDS = 60.0
FILTER_BYTES = 16 * 1024


@dataclass
class Store:
    """In-memory store with simulated time, shared by replicas and collectors."""

    time: SimulatedTime = field(default_factory=SimulatedTime)

    def __post_init__(self) -> None:
        self.storage: StagingStorage = InMemoryBlobStorage(now=self.time.now)
        self.new_id = counting_ids()
        self._keys = itertools.count(1)

    def services(
        self,
        storage: StagingStorage | None = None,
        *,
        is_renewable: Callable[[RepositoryName], bool] | None = None,
    ) -> CoreServices:
        """Return the services of one replica."""
        seen = storage or self.storage
        return CoreServices(
            storage=seen,
            rounds_storage=seen,
            clock=self.time.clock,
            sleep=self.time.sleep,
            settle_seconds=SETTLE_SECONDS,
            cache=InMemoryDescriptorCache(now=self.time.now),
            memory=ManifestCache(),
            new_id=self.new_id,
            offload=in_turn,
            is_renewable=is_renewable,
        )

    def trash(self, storage: StagingStorage | None = None, *, keep: timedelta = timedelta(days=7)) -> Trash:
        return Trash(storage or self.storage, now=self.time.now, new_id=self.new_id, keep=keep)

    def collector(
        self,
        storage: StagingStorage | None = None,
        *,
        keep: timedelta = timedelta(days=7),
        grace: timedelta = timedelta(hours=1),
        requests_per_second: float | None = None,
        goes_on: Callable[[], bool] = lambda: True,
        before: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        observe: Callable[[CollectionReport], None] = lambda _report: None,
        forget_repository: Callable[[RepositoryName], Coroutine[Any, Any, None]] | None = None,
        **options: Any,
    ) -> Collector:
        seen = storage or self.storage
        return Collector(
            seen,
            links=Links(seen),
            trash=self.trash(seen, keep=keep),
            cache=InMemoryDescriptorCache(now=self.time.now),
            budget=Budget(Rates(requests_per_second=requests_per_second), clock=self.time.clock, sleep=self.time.sleep),
            options=CollectionOptions(grace=grace, settle_seconds=SETTLE_SECONDS, filter_bytes=FILTER_BYTES, **options),
            context=CollectorContext(
                clock=self.time.clock,
                sleep=self.time.sleep,
                new_key=lambda: next(self._keys).to_bytes(16, "big"),
                goes_on=goes_on,
                before=before,
                observe=observe,
                forget_repository=forget_repository,
            ),
        )

    async def finish(
        self, work: Coroutine[Any, Any, T] | asyncio.Future[T], *, seconds: float = 3600.0, step: float = 5.0
    ) -> T:
        """Run a coroutine to its end while advancing the simulated time."""
        task = asyncio.ensure_future(work)
        passed = 0.0
        while passed < seconds and not task.done():
            await self.time.advance(step)
            passed += step
        assert task.done(), "it did not end"
        return await task

    async def collect(self, **options: Any) -> CollectionReport:
        """Run a collection to its end."""
        return await self.finish(self.collector(**options).run())

    async def keys(self, prefix: str = "/") -> set[str]:
        return {key async for key, _ in self.storage.walk(prefix)}


async def push_image(
    services: CoreServices,
    name: RepositoryName,
    config: bytes,
    layers: Sequence[bytes] = (),
    *,
    tags: Sequence[str] = (),
    **members: Any,
) -> Digest:
    """Push an image of these blobs."""
    for blob in (config, *layers):
        await services.push_blob(name, blob)
    manifest = image_manifest(config, layers, **members)
    pushed = await services.manifests.put(name, manifest, media_types.OCI_MANIFEST, tags=[Tag(tag) for tag in tags])
    return pushed.digest


async def is_complete(services: CoreServices, name: RepositoryName, digest: Digest) -> bool:
    """Return whether a manifest can be pulled with everything it refers to."""
    try:
        manifest = read_manifest((await services.manifests.get(name, digest)).content)
        for blob in manifest.blobs():
            await services.read_blob(name, blob.digest)
        for child in manifest.manifests:
            if not await is_complete(services, name, child.digest):
                return False
    except (ManifestUnknownError, BlobUnknownError):
        return False
    return True
