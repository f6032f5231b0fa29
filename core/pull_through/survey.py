"""Survey of the cache: the cached images with their sizes and last uses."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from core.collection.listing import FoundLink, Lister, ManifestListing
from core.collection.manifest_reading import ReadManifest, read_references
from core.concurrency import map_bounded
from core.coordination.paced_store import PacedStore
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.retention.pulls import PullHistory, Pulls
from core.store.clock import StoreClock

_HISTORY: Final = timedelta(days=3 * 366)
"""Pulls older than this count as unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedImage:
    """An image of a cached repository, which is removed as a whole; or a blob that no cached manifest refers to."""

    name: RepositoryName
    digest: Digest
    tags: tuple[Tag, ...] = ()
    fetched_at: datetime
    """By the store's clock, as all times here."""
    last_used: datetime
    """The last known pull, or else the time of the fetch."""
    manifests: frozenset[Digest] = frozenset()
    """The manifest itself, those of its platforms, and its referrers, as far as they are cached."""
    blobs: frozenset[Digest] = frozenset()
    """The cached blobs of these manifests."""

    @property
    def content(self) -> Iterable[Digest]:
        """All digests of the image."""
        return (*self.manifests, *self.blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The content of the cache at one time."""

    now: datetime
    images: Sequence[CachedImage]
    sizes: Mapping[Digest, int] = field(default_factory=dict)
    """The size of the stored data of each cached digest."""

    @property
    def size(self) -> int:
        """The size of all cached content; shared content counts once."""
        return sum(self.sizes.values())

    def size_of(self, image: CachedImage) -> int:
        """Return the size of an image, including content that it shares with others."""
        return sum(self.sizes.get(digest, 0) for digest in image.content)


class Surveyor:
    """Surveys the cache of one store. Stateless.

    Args:
        store: the store.
        lister: lists the links of the store.
        pulls: the history of pulls.
        store_clock: the clock of the store.
        is_cached: whether the content of a repository comes from an upstream.
    """

    def __init__(
        self,
        store: PacedStore,
        lister: Lister,
        pulls: PullHistory,
        *,
        store_clock: StoreClock,
        is_cached: Callable[[RepositoryName], bool],
    ) -> None:
        self._store = store
        self._lister = lister
        self._pulls = pulls
        self.store_clock = store_clock
        self.is_cached = is_cached

    async def survey(self) -> Survey:
        """Return the content of the cache, in any order.

        Costs listings of the cached repositories and of all blobs, and one request per cached manifest. Memory grows
        with the number of cached digests.
        """
        pulls = await self.pulls()
        images = [image async for name in self.repositories() for image in await self.images(name, pulls)]
        digests = {digest for image in images for digest in image.content}
        sizes = {digest: stat.size async for digest, stat in self._lister.blobs() if digest in digests}
        return Survey(now=(await self.store_clock.look()).now, images=images, sizes=sizes)

    async def pulls(self) -> Pulls:
        """Return the recorded pulls, and merge their records into few objects."""
        return await self._pulls.read(oldest=_HISTORY, merges=True)

    async def repositories(self) -> AsyncIterator[RepositoryName]:
        """Yield the cached repositories, in ascending order."""
        async for name in self._lister.repositories():
            if self.is_cached(name):
                yield name

    async def images(self, name: RepositoryName, pulls: Pulls) -> Sequence[CachedImage]:
        """Return the images of one repository."""
        listing = await self._lister.manifests(name)
        read = await map_bounded(partial(read_references, self._store), listing.revisions)
        repository = _Repository(
            name=name,
            listing=listing,
            read={each.digest: each for each in read},
            referrers=await self._lister.referrers(name),
            layers={found.digest: found async for found in self._lister.layers(name)},
            pulls=pulls,
        )
        return repository.images()


def last_pull(name: RepositoryName, manifests: Iterable[Digest], pulls: Pulls) -> datetime | None:
    """Return the time of the last known pull of any of these manifests."""
    return max((at for digest in manifests if (at := pulls.last(name, digest))), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repository:
    """The content of one repository."""

    name: RepositoryName
    listing: ManifestListing
    read: Mapping[Digest, ReadManifest]
    referrers: Mapping[Digest, Mapping[Digest, FoundLink]]
    layers: Mapping[Digest, FoundLink]
    pulls: Pulls

    def images(self) -> Sequence[CachedImage]:
        tags: dict[Digest, list[Tag]] = {}
        for tag, digest in self.listing.tags.items():
            # A tag without a stored manifest is no image.
            if digest is not None and digest in self.read:
                tags.setdefault(digest, []).append(Tag(tag))
        targets = {target for digest in self.read for target in self._targets(digest)}
        images = [
            self._image(root, sorted(tags.get(root, ())), self._closure(root))
            for root in self.read
            if root in tags or root not in targets
        ]
        used = {blob for image in images for blob in image.blobs}
        return images + [self._loose(digest) for digest in self.layers if digest not in used]

    def _image(self, root: Digest, tags: Sequence[Tag], manifests: Collection[Digest]) -> CachedImage:
        fetched_at = self.listing.revisions[root].modified_at
        return CachedImage(
            name=self.name,
            digest=root,
            tags=tuple(tags),
            fetched_at=fetched_at,
            last_used=max(fetched_at, last_pull(self.name, manifests, self.pulls) or fetched_at),
            manifests=frozenset(manifests),
            blobs=frozenset(blob for digest in manifests for blob in self._references(digest) if blob in self.layers),
        )

    def _loose(self, digest: Digest) -> CachedImage:
        fetched_at = self.layers[digest].modified_at
        return CachedImage(
            name=self.name, digest=digest, fetched_at=fetched_at, last_used=fetched_at, blobs=frozenset({digest})
        )

    def _references(self, digest: Digest) -> Iterable[Digest]:
        # Build caches are indexes that list layers, so each child may be a blob too.
        return (*self.read[digest].blobs, *self.read[digest].children)

    def _targets(self, digest: Digest) -> Sequence[Digest]:
        targets = (*self.read[digest].children, *self.referrers.get(digest, ()))
        return [target for target in targets if target in self.read]

    def _closure(self, root: Digest) -> Collection[Digest]:
        found = {root}
        stack = [root]
        while stack:
            for digest in self._targets(stack.pop()):
                if digest not in found:
                    found.add(digest)
                    stack.append(digest)
        return found
