"""Candidates for removal, ordered so that a parent comes before the content it refers to."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

from core.collection.items import Item, ItemKind
from core.collection.listing import FoundLink, ManifestListing
from core.collection.manifest_reading import read_references
from core.collection.run import Run
from core.model.digest import CANONICAL, Digest
from core.model.names import RepositoryName


class Candidates:
    """Finds removal candidates in a marked store; used by one task.

    An index comes before its manifests, a manifest before its layers, and blob data last. A client that finds a parent
    can therefore rely on its content, and a pin for the parent protects the content too.
    """

    def __init__(self, run: Run) -> None:
        self._lister = run.lister
        self._store = run.store
        self._marks = run.marks
        self._report = run.report
        self._young_after = run.young_after
        self._holds_data = run.report.unreadable > 0 and not run.options.is_daring

    async def all(self) -> AsyncIterator[Item]:
        """Yield all candidates.

        Costs listings of the dirty repositories and of all blob data, plus one read for each garbage manifest.
        """
        for name in self._marks.dirty():
            async for item in self.of_repository(name):
                yield item
        async for digest, stat in self._lister.blobs():
            self._report.blobs += 1
            self._report.blob_bytes += stat.size
            if self._marks.needs_data(digest):
                continue
            if stat.modified_at > self._young_after:
                self._report.kept_young += 1
                continue
            if self._holds_data:
                self._report.blobs_held += 1
                self._report.bytes_held += stat.size
                continue
            yield Item(ItemKind.DATA, digest, size=stat.size)

    async def of_repository(self, name: RepositoryName) -> AsyncIterator[Item]:
        """Yield the links of a repository that may be removed."""
        listing = await self._lister.manifests(name)
        referrers = await self._lister.referrers(name)
        for item in await self._manifests(name, listing, referrers):
            yield item
        for item in self._remnants(name, listing, referrers):
            yield item
        async for found in self._lister.layers(name):
            if self._is_old(name, found) and not self._marks.needs_link(name, found.digest):
                yield await self._layer(name, found)

    async def _manifests(
        self,
        name: RepositoryName,
        listing: ManifestListing,
        referrers: Mapping[Digest, Mapping[Digest, FoundLink]],
    ) -> Sequence[Item]:
        repository = self._marks.repository(name)
        garbage = [
            found
            for found in listing.revisions.values()
            if repository.is_garbage(found.digest) and self._is_old(name, found)
        ]
        companions: dict[Digest, list[FoundLink]] = {}
        for found in listing.history:
            companions.setdefault(found.digest, []).append(found)
        for links in referrers.values():
            for found in links.values():
                companions.setdefault(found.digest, []).append(found)
        items = []
        for found in await self._parents_first(garbage):
            items.append(Item(ItemKind.MANIFEST, found.digest, name, found.key))
            items += [
                Item(ItemKind.COMPANION, found.digest, name, each.key) for each in companions.get(found.digest, ())
            ]
            items += [
                Item(ItemKind.COMPANION, found.digest, name, each.key, each.digest)
                for each in listing.signatures.get(found.digest, ())
            ]
        return items

    async def _parents_first(self, garbage: Sequence[FoundLink]) -> Sequence[FoundLink]:
        links = {found.digest: found for found in garbage}
        children = {digest: (await read_references(self._store, digest)).children for digest in links}
        ordered: dict[Digest, None] = {}
        for digest in links:
            _visit(digest, children, ordered)
        return [links[digest] for digest in reversed(ordered)]

    def _remnants(
        self,
        name: RepositoryName,
        listing: ManifestListing,
        referrers: Mapping[Digest, Mapping[Digest, FoundLink]],
    ) -> Iterator[Item]:
        links = [found for some in referrers.values() for found in some.values()]
        for found in (*links, *listing.history):
            if found.digest not in listing.revisions and found.modified_at <= self._young_after:
                yield Item(ItemKind.REMNANT, found.digest, name, found.key)

    async def _layer(self, name: RepositoryName, found: FoundLink) -> Item:
        target = None if found.digest.algorithm == CANONICAL else await self._lister.target(found.key)
        return Item(ItemKind.LAYER, found.digest, name, target=target)

    def _is_old(self, name: RepositoryName, found: FoundLink) -> bool:
        """Whether marking has seen the link unchanged, and the link is older than the grace period."""
        is_seen = self._marks.repository(name).has_seen(found.key, found.modified_at)
        return is_seen and found.modified_at <= self._young_after


def _visit(digest: Digest, children: Mapping[Digest, Collection[Digest]], ordered: dict[Digest, None]) -> None:
    """Add `digest` to `ordered`, after everything it leads to."""
    stack = [(digest, iter(children[digest]))]
    on_path = {digest}
    while stack:
        current, rest = stack[-1]
        following = next(
            (each for each in rest if each in children and each not in ordered and each not in on_path), None
        )
        if following is None:
            ordered[current] = None
            stack.pop()
        else:
            on_path.add(following)
            stack.append((following, iter(children[following])))
