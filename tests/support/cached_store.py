"""A pull-through cache on one in-memory store and on simulated time, filled without an upstream."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from typing_extensions import override

from adapters.descriptor_cache.memory import InMemoryDescriptorCache
from core.collection.listing import Lister
from core.collection.pins import Pins
from core.collection.rounds import Rounds
from core.collection.run import CollectorContext
from core.coordination.budget import Budget, Rates
from core.coordination.paced_store import PacedStore
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.staging import StagingStorage
from core.pull_through.eviction import EvictionReport, Evictor, EvictorContext
from core.pull_through.selection import Eviction
from core.pull_through.survey import CachedImage, Survey, Surveyor
from core.pull_through.usage import CacheUsage
from core.retention.pulls import PullHistory, PullRecorder
from core.store.clock import StoreClock
from core.store.links import Links
from core.store.tag_links import TagLinks
from tests.support.collecting_services import FILTER_BYTES, SETTLE_SECONDS, Store, push_image
from tests.support.core_services import CoreServices

PREFIX = "hub"


def is_cached(name: RepositoryName) -> bool:
    """Whether a repository belongs to the cache."""
    return name.startswith(f"{PREFIX}/")


class CachedStore(Store):
    """Store whose repositories below `hub` are a cache."""

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.forgotten: list[tuple[RepositoryName, Tag]] = []
        """Tags whose records the evictions removed."""
        self.emptied: list[RepositoryName] = []
        """Repositories that lost manifests."""

    def replica(self, storage: StagingStorage | None = None) -> CoreServices:
        """Return the services of one replica."""
        return self.services(storage, is_renewable=is_cached)

    async def fetch(
        self, name: str, config: bytes, layers: Sequence[bytes] = (), *, tags: Sequence[str] = ("latest",)
    ) -> Digest:
        """Store an image as a fetch from the upstream does."""
        return await push_image(self.replica(), RepositoryName(name), config, layers, tags=tags)

    async def pull(self, name: str, digest: Digest) -> None:
        """Record a pull."""
        recorder = PullRecorder(self.storage, clock=self.time.clock, new_id=self.new_id)
        recorder.note(RepositoryName(name), digest)
        await recorder.flush()

    def surveyor(self, storage: StagingStorage | None = None) -> Surveyor:
        """Return a surveyor."""
        seen = storage or self.storage
        store = PacedStore(seen, Budget(Rates(), clock=self.time.clock, sleep=self.time.sleep))
        return Surveyor(
            store,
            Lister(store, Links(seen)),
            PullHistory(seen, new_id=self.new_id),
            store_clock=StoreClock(seen),
            is_cached=is_cached,
        )

    async def survey(self) -> Survey:
        """Survey the cache."""
        return await self.surveyor().survey()

    def evictor(
        self,
        storage: StagingStorage | None = None,
        *,
        keeps: Callable[[CachedImage], bool] = lambda _image: False,
        **options: Any,
    ) -> Evictor:
        """Return an evictor."""
        seen = storage or self.storage
        links = Links(seen)
        store = PacedStore(seen, Budget(Rates(), clock=self.time.clock, sleep=self.time.sleep))
        context = EvictorContext(
            tag_links=TagLinks(seen, links),
            trash=self.trash(seen, keep=timedelta(0)),
            cache=InMemoryDescriptorCache(now=self.time.now),
            pins=Pins(seen),
            rounds=Rounds(seen),
            collector=CollectorContext(
                clock=self.time.clock,
                sleep=self.time.sleep,
                new_key=lambda: next(self._keys).to_bytes(16, "big"),
            ),
            settle_seconds=SETTLE_SECONDS,
            grace=timedelta(hours=24),
            keeps=keeps,
            forget_tags=self._note_forgotten,
            forget_repository=self._note_emptied,
            filter_bytes=FILTER_BYTES,
            **options,
        )
        return Evictor(store, Lister(store, links), self.surveyor(seen), CacheUsage(seen), context)

    async def evict(self, eviction: Eviction, **options: Any) -> EvictionReport:
        """Run an eviction to its end."""
        return await self.finish(self.evictor(**options).evict(eviction))

    async def _note_forgotten(self, name: RepositoryName, tags: Sequence[Tag]) -> None:
        self.forgotten += [(name, tag) for tag in tags]

    async def _note_emptied(self, name: RepositoryName) -> None:
        self.emptied.append(name)
