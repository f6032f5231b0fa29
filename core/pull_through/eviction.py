"""Eviction: removes cached images while clients push and pull, by rounds of garbage collection (docs/adr/0007).

An eviction is a collection whose candidates are the content of the chosen images. It needs no grace period, since
nobody can push to a cached repository, and its rounds do not use the trash, since the upstream has the content. What
protects pushes stays: the data of a blob is removed only if no link of any repository refers to it, before the round
and after the settle time, and only if nobody pinned it.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from core.collection.candidates import Candidates
from core.collection.items import Item, ItemKind
from core.collection.listing import Lister
from core.collection.marking import Marker
from core.collection.marks import Marks
from core.collection.pins import Pins
from core.collection.recovery import Recovery, RoundWatch
from core.collection.removing import Remover
from core.collection.report import CollectionReport
from core.collection.rounds import Rounds
from core.collection.run import CollectionOptions, CollectorContext, Run
from core.concurrency import map_bounded, stream
from core.coordination.paced_store import PacedStore
from core.model.digest import CANONICAL, Digest
from core.model.names import RepositoryName, Tag
from core.ports.descriptor_cache import DescriptorCache
from core.pull_through.selection import Eviction, choose
from core.pull_through.survey import CachedImage, Survey, Surveyor, last_pull
from core.pull_through.usage import CacheUsage, Measurement
from core.store import layout
from core.store.link_keys import LayerKey, ReferrerKey, RevisionKey, TagKey, digests_in, parse_link_key, repository_of
from core.store.objects import find
from core.store.tag_links import TagLinks
from core.trash.entry import TrashKind, kind_of
from core.trash.store import Trash
from core.typing import override

_ALL_OLD: Final = datetime.max.replace(tzinfo=UTC)
_PROCESS_AGE_MAX: Final = timedelta(days=7)
_PULL_TOLERANCE: Final = timedelta(seconds=2)
"""The records of pulls keep whole seconds; merging them may move a pull by one."""
_FILTER_BYTES: Final = 8 * 1024 * 1024
"""Two million links outside the cache keep one of 30,000 unneeded blobs by mistake, until the next eviction."""


@dataclass(slots=True, kw_only=True)
class EvictionReport:
    """The result of an eviction; with `is_dry_run`, what it would remove."""

    is_dry_run: bool = False
    images: Sequence[CachedImage] = ()
    """The images that were chosen."""
    size_before: int = 0
    """The size of the cache before the eviction."""
    size: int = 0
    """The size of the cache afterwards."""
    spared: int = 0
    """Images that stayed because they came into use again."""
    bytes_removed: int = 0
    """The space that was freed. Content that local repositories need too is not removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictorContext:
    """The parts of the registry that an eviction uses."""

    tag_links: TagLinks
    trash: Trash
    """A trash that keeps nothing."""
    cache: DescriptorCache
    pins: Pins
    rounds: Rounds
    collector: CollectorContext
    settle_seconds: float
    grace: timedelta
    """Pins are removed after this time."""
    keeps: Callable[[CachedImage], bool]
    """Whether the configuration keeps an image."""
    forget_tags: Callable[[RepositoryName, Sequence[Tag]], Awaitable[None]]
    """Removes the cache's own records of tags."""
    forget_repository: Callable[[RepositoryName], Awaitable[None]]
    """Called for each repository that lost manifests; it may have none left."""
    is_offline: bool = False
    """Whether no server uses the store. The eviction then does not wait for servers to see a round."""
    filter_bytes: int = _FILTER_BYTES
    """The size of the set of all links outside the cache."""


class Evictor:
    """Removes cached images. One per process, used by one task; concurrent evictions are safe, and repeat work."""

    def __init__(
        self, store: PacedStore, lister: Lister, surveyor: Surveyor, usage: CacheUsage, context: EvictorContext
    ) -> None:
        self._store = store
        self._storage = store.storage
        self._lister = lister
        self._surveyor = surveyor
        self._usage = usage
        self._context = context

    async def plan(self, eviction: Eviction) -> EvictionReport:
        """Return the images that an eviction would remove. Costs a survey."""
        survey = await self._surveyor.survey()
        images = choose(survey, eviction, keeps=self._context.keeps)
        return EvictionReport(is_dry_run=True, images=images, size_before=survey.size, size=survey.size)

    async def evict(self, eviction: Eviction) -> EvictionReport:
        """Remove images, and measure the cache.

        Costs a survey. If there is something to remove, it costs two more, a listing of all links of the store before
        and after the settle time, and the removal.

        Raises:
            StorageError: the store failed. The next eviction continues.
        """
        rounds = [each for each in await self._context.rounds.states() if kind_of(each) is TrashKind.EVICTION]
        leftovers = await self._digests_in(rounds)
        counts = await self._usage.counts()
        survey = await self._measure(counts)
        report = EvictionReport(size_before=survey.size, size=survey.size)
        if leftovers or choose(survey, eviction, keeps=self._context.keeps):
            await self._remove(eviction, leftovers, report)
            # The earlier counts, since content that was admitted in the meantime may not be stored yet.
            report.size = (await self._measure(counts)).size
        if rounds:
            await self._end_abandoned()
        return report

    async def _remove(self, eviction: Eviction, leftovers: Sequence[Digest], report: EvictionReport) -> None:
        pins = self._context.pins
        if self._context.is_offline:
            # The servers that wrote the pins no longer run.
            await pins.remove(list(await pins.all()))
        run = self._new_run()
        await self._mark_others(run.marks)
        # Content that appears from here on is new to the second check; older content is in this survey.
        survey = await self._surveyor.survey()
        report.images = choose(survey, eviction, keeps=self._context.keeps)
        _mark_cache(run.marks, survey, report.images)
        marker = _EvictionMarker(
            run, pinned=await pins.all(), images=report.images, surveyor=self._surveyor, of=self._context
        )
        items = await self._items(run, survey, report.images, leftovers)
        await Remover(run, marker, kind=TrashKind.EVICTION, reason="eviction").remove_all(stream(items))
        # Without any round: all content of the images is shared.
        await marker.remove_tags()
        await self._tidy(run, {image.name for image in report.images})
        report.spared = marker.spared
        report.bytes_removed = run.report.bytes_removed

    async def _measure(self, counts: Mapping[str, int]) -> Survey:
        survey = await self._surveyor.survey()
        await self._usage.record(Measurement(size=survey.size, images=len(survey.images), counts=counts))
        await self._usage.forget_processes(survey.now - _PROCESS_AGE_MAX)
        return survey

    async def _digests_in(self, rounds: Iterable[str]) -> Sequence[Digest]:
        """Return the digests in the rounds of evictions that were killed, or are running: their links may be gone."""
        found: list[Digest] = []
        for round_id in rounds:
            if read := await self._context.rounds.read(round_id):
                found += read[1]
        return found

    async def _end_abandoned(self) -> None:
        context = self._context.collector
        recovery = Recovery(
            self._storage,
            rounds=self._context.rounds,
            pins=self._context.pins,
            trash=self._context.trash,
            sleep=context.sleep,
            watch=context.watch or RoundWatch(self._context.rounds, clock=context.clock),
        )
        await recovery.end_abandoned(waits=not self._context.is_offline)

    def _new_run(self) -> Run:
        context = self._context
        return Run(
            store=self._store,
            trash=context.trash,
            cache=context.cache,
            lister=self._lister,
            marks=Marks(context.collector.new_key(), filter_bytes=context.filter_bytes),
            report=CollectionReport(),
            young_after=_ALL_OLD,
            options=CollectionOptions(settle_seconds=context.settle_seconds, is_offline=context.is_offline),
            context=context.collector,
        )

    async def _mark_others(self, marks: Marks) -> None:
        """Record every link of the store, and that the content of all links outside the cache is needed."""
        for directory in (layout.MANIFESTS_DIRECTORY, layout.LAYERS_DIRECTORY):
            async for key, stat in self._store.walk_repositories(directory):
                link = parse_link_key(key)
                if isinstance(link, RevisionKey | LayerKey):
                    marks.repository(link.name).see(key, stat.modified_at)
                is_tag_or_referrer = isinstance(link, TagKey | ReferrerKey)
                if key.endswith(layout.LINK) and not is_tag_or_referrer and not self._is_in_cache(key):
                    for digest in await self._digests_of(key):
                        marks.need_data(digest)
        for repository in marks.repositories():
            repository.pack()

    def _is_in_cache(self, key: str) -> bool:
        name = repository_of(key)
        return name is not None and self._surveyor.is_cached(name)

    async def _digests_of(self, key: str) -> Sequence[Digest]:
        """Return the digests that a link may refer to. Reads it if that may be another one than the key names."""
        digests = digests_in(key)
        if not digests or digests[-1].algorithm != CANONICAL:
            target = await self._lister.target(key)
            digests += [target] if target else []
        return digests

    async def _items(
        self, run: Run, survey: Survey, going: Sequence[CachedImage], leftovers: Iterable[Digest]
    ) -> Sequence[Item]:
        """Return the links to remove, each after those that lead to it, and then the data that no link needs."""
        candidates = Candidates(run)
        items = [
            item for name in sorted({image.name for image in going}) async for item in candidates.of_repository(name)
        ]
        digests = dict.fromkeys(digest for image in going for digest in image.content)
        sizes = {digest: survey.sizes[digest] for digest in digests if digest in survey.sizes}
        for digest in leftovers:
            if digest not in survey.sizes and (stat := await find(self._storage, layout.blob_data(digest))):
                sizes[digest] = stat.size
        items += [
            Item(ItemKind.DATA, digest, size=size) for digest, size in sizes.items() if not run.marks.needs_data(digest)
        ]
        return items

    async def _tidy(self, run: Run, names: Iterable[RepositoryName]) -> None:
        context = self._context
        paths = [layout.repository(name) for name in names]
        await self._storage.prune(paths, below=layout.REPOSITORIES)
        if not await context.rounds.states():
            # Nobody collects garbage on a registry that is only a cache.
            oldest = (await self._surveyor.store_clock.look()).before(context.grace)
            await context.pins.remove([digest for digest, at in (await context.pins.all()).items() if at <= oldest])
        for repository, part in run.report.by_repository.items():
            if part.manifests_removed:
                await context.forget_repository(RepositoryName(repository))


class _EvictionMarker(Marker):
    """Marks again after the settle time, and then removes the tags of the images that nobody pulled meanwhile."""

    def __init__(
        self,
        run: Run,
        *,
        pinned: Collection[Digest],
        images: Sequence[CachedImage],
        surveyor: Surveyor,
        of: EvictorContext,
    ) -> None:
        super().__init__(run, pinned=pinned)
        self._repositories = run.marks.repository
        self._images = images
        self._surveyor = surveyor
        self._tags = of.tag_links
        self._forget_tags = of.forget_tags
        self.spared = 0
        """Images that were pulled during the settle time."""

    @override
    async def mark_new(self) -> None:
        await super().mark_new()
        await self.remove_tags()

    async def remove_tags(self) -> None:
        """Remove the tags of the images that nobody pulled since the survey, once; mark the other images."""
        images, self._images = self._images, ()
        pulls = await self._surveyor.pulls() if images else None
        for image in images:
            pulled_at = last_pull(image.name, image.manifests, pulls) if pulls else None
            if pulled_at is not None and pulled_at - image.last_used > _PULL_TOLERANCE:
                self.spared += 1
                await self.keep_again(self._repositories(image.name), sorted(image.manifests))
            else:
                await self._remove_tags(image)

    async def _remove_tags(self, image: CachedImage) -> None:
        # A tag that the upstream has moved since stays.
        targets = await map_bounded(partial(self._tags.resolve, image.name), image.tags)
        tags = [tag for tag, target in zip(image.tags, targets, strict=True) if target == image.digest]
        if tags:
            await self._tags.remove(image.name, tags)
            await self._forget_tags(image.name, tags)


def _mark_cache(marks: Marks, survey: Survey, going: Sequence[CachedImage]) -> None:
    """Mark what the images that stay need, and the manifests of the others as garbage."""
    removed = {(image.name, image.digest) for image in going}
    kept: set[tuple[RepositoryName, Digest]] = set()
    for image in survey.images:
        if (image.name, image.digest) not in removed:
            for digest in image.manifests:
                kept.add((image.name, digest))
                marks.need_data(digest)
            for digest in image.blobs:
                marks.need_blob(image.name, digest)
    for image in going:
        for digest in image.manifests:
            if (image.name, digest) not in kept:
                marks.repository(image.name).mark_garbage(digest)
