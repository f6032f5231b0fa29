"""Marking: finds the content that repositories need, first all of it, later the content added since.

Marking begins with the manifests that tags point to, and with untagged manifests too unless those are to be deleted;
with content younger than the grace period; and with pinned content. From there marking follows references, and adds the
referrers of every needed manifest.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from core.collection.closure import Closure
from core.collection.listing import FoundLink, ManifestListing
from core.collection.manifest_reading import read_references
from core.collection.marks import RepositoryMarks
from core.collection.run import Run
from core.concurrency import map_bounded, slices
from core.model.digest import CANONICAL, Digest
from core.model.names import RepositoryName
from core.store import layout
from core.store.link_keys import digests_in

_HELD_MAX: Final = 256
"""Maximum number of manifests in memory."""


class Marker:
    """Marks one store for one run. Several repositories may be marked concurrently.

    Args:
        run: the store, and the marks that receive the results.
        pinned: digests that clients recently relied on.
    """

    def __init__(self, run: Run, *, pinned: Collection[Digest]) -> None:
        self._lister = run.lister
        self._store = run.store
        self._marks = run.marks
        self._report = run.report
        self._young_after = run.young_after
        self._deletes_untagged = run.options.deletes_untagged
        self._pinned = frozenset(pinned)
        for digest in self._pinned:
            self._marks.need_data(digest)

    async def mark(self, name: RepositoryName) -> None:
        """Mark a repository. One storage request per manifest, and one per 1,000 links."""
        listing = await self._lister.manifests(name)
        repository = self._marks.repository(name)
        for found in listing.revisions.values():
            repository.see(found.key, found.modified_at)
        referrers = await self._lister.referrers(name)
        closure = Closure(
            self._store,
            self._marks,
            repository,
            self._report,
            referrers=referrers,
            is_open=listing.revisions.__contains__,
        )
        is_doubtful = listing.is_doubtful or await self._has_empty_tags(name, listing)
        await closure.keep(listing.revisions if is_doubtful else [each for each in listing.tags.values() if each])
        await closure.keep(self._recent(listing, closure.kept))
        await self._mark_unreferenced(listing, closure)
        for digest in listing.revisions:
            if digest not in closure.kept:
                repository.mark_garbage(digest)
        self._keep_signatures(name, listing, closure.kept)
        named = {found.digest for found in listing.history}.union(*referrers.values())
        repository.is_dirty |= any(digest not in listing.revisions for digest in named)
        keeps_all = await self._check_tags(name, listing, closure) or is_doubtful
        await self._mark_layers(repository, keeps_all=keeps_all)
        await self._need_targets(listing.unreadable)
        repository.pack()
        self._count(name, listing)

    async def mark_unnamed(self, path: str) -> None:
        """Keep all data that may be needed by links at a path that is not a valid repository name.

        One storage request per manifest and tag, and one per 1,000 links.
        """
        keys = [key async for key in self._store.links_at(path)]
        if not keys:
            return
        self._report.note_unreadable(f"{path}: not a valid repository name, but contains {len(keys):,} links")
        manifests: dict[Digest, None] = {}
        for key in keys:
            digests = await self._targets_of(key)
            for digest in digests:
                self._marks.need_data(digest)
            if layout.is_manifest_link(key):
                manifests |= dict.fromkeys(digests)
        for some in slices(list(manifests), _HELD_MAX):
            for manifest in await map_bounded(partial(read_references, self._store), some):
                for digest in (*manifest.blobs, *manifest.children):
                    self._marks.need_data(digest)

    async def mark_new(self) -> None:
        """Mark everything written since the repositories were marked: new content counts as needed.

        Costs two listings of the store, and one storage request for each new manifest.
        """
        manifests: dict[RepositoryName, list[Digest]] = {}
        async for name, found in self._lister.all_revisions():
            if self._is_new(name, found):
                manifests.setdefault(name, []).append(found.digest)
        for name, digests in manifests.items():
            await self.keep_again(self._marks.repository(name), digests)
        await self._mark_new_layers()
        for repository in self._marks.repositories():
            repository.pack()

    async def _mark_new_layers(self) -> None:
        aliases: list[tuple[RepositoryName, FoundLink]] = []
        async for name, found in self._lister.all_layers():
            if self._is_new(name, found):
                self._marks.need_blob(name, found.digest)
            if found.digest.algorithm != CANONICAL:
                aliases.append((name, found))
        for name, found in aliases:
            await self._follow_alias(name, found)

    async def keep_again(self, repository: RepositoryMarks, manifests: Sequence[Digest]) -> None:
        """Keep manifests that are new or counted as garbage, with everything they need."""
        for digest in manifests:
            repository.note_return(digest)
        some = set(manifests)
        closure = Closure(
            self._store,
            self._marks,
            repository,
            self._report,
            referrers=await self._lister.referrers(repository.name),
            is_open=lambda digest: digest in some or repository.is_garbage(digest),
        )
        await closure.keep(manifests)
        if closure.keeps_all_blobs:
            await self._mark_layers(repository, keeps_all=True)

    async def _has_empty_tags(self, name: RepositoryName, listing: ManifestListing) -> bool:
        # The request is worthwhile only if untagged manifests may be removed.
        if not self._deletes_untagged or not await self._lister.has_empty_tags(name, listing.tags):
            return False
        self._report.note_problem(f"{name}: the folder of a tag contains no link; all manifests are kept")
        return True

    async def _need_targets(self, unreadable: Sequence[str]) -> None:
        for key in unreadable:
            self._report.note_unreadable(f"{key}: not a valid link of a repository")
            for digest in await self._targets_of(key):
                self._marks.need_data(digest)

    async def _targets_of(self, link: str) -> Sequence[Digest]:
        """Return the digests a link may point to: those in its key, and its content if that may be another digest."""
        digests = digests_in(link)
        is_plain = link.split("/")[-4] in {layout.LAYERS_DIRECTORY, "revisions"} and bool(digests)
        if not is_plain or digests[-1].algorithm != CANONICAL:
            target = await self._lister.target(link)
            digests += [target] if target else []
        return digests

    def _is_new(self, name: RepositoryName, found: FoundLink) -> bool:
        repository = self._marks.repository(name)
        if repository.has_seen(found.key, found.modified_at):
            return False
        repository.see(found.key, found.modified_at)
        return True

    def _recent(self, listing: ManifestListing, kept: Collection[Digest]) -> Sequence[Digest]:
        """Return the manifests that stay because they are young or pinned."""
        others = [found for digest, found in listing.revisions.items() if digest not in kept]
        young = [found.digest for found in others if found.modified_at > self._young_after]
        pinned = [found.digest for found in others if found.digest in self._pinned.difference(young)]
        if self._deletes_untagged:
            self._report.kept_young += len(young)
            self._report.kept_pinned += len(pinned)
        return young + pinned

    async def _mark_unreferenced(self, listing: ManifestListing, closure: Closure) -> None:
        """Decide on manifests that nothing refers to, by their subjects and by the policy for untagged manifests."""
        waiting: dict[Digest, Digest] = {}
        others = [digest for digest in listing.revisions if digest not in closure.kept]
        for some in slices(others, _HELD_MAX):
            for manifest in await map_bounded(
                partial(read_references, self._store), [each for each in some if each not in closure.kept]
            ):
                if manifest.problem or (manifest.subject is None and not self._deletes_untagged):
                    self._report.kept_untagged += not manifest.problem
                    await closure.keep(closure.note(manifest, is_wanted=False))
                elif manifest.subject is not None:
                    waiting[manifest.digest] = manifest.subject
        # A referrer may be the subject of another referrer.
        while ready := [each for each, subject in waiting.items() if subject in closure.kept]:
            for each in ready:
                del waiting[each]
            await closure.keep(ready)

    def _keep_signatures(self, name: RepositoryName, listing: ManifestListing, kept: Collection[Digest]) -> None:
        for digest, signatures in listing.signatures.items():
            if digest in kept:
                for signature in signatures:
                    self._marks.need_blob(name, signature.digest)

    async def _check_tags(self, name: RepositoryName, listing: ManifestListing, closure: Closure) -> bool:
        """Check the tags whose manifest is not among the revisions. Return whether all blobs must stay."""
        for tag, digest in listing.tags.items():
            if digest is None:
                self._report.note_problem(
                    f"{name}:{tag}: the link is missing or contains no digest; all manifests are kept"
                )
                continue
            if digest in listing.revisions:
                continue
            # Registry 2.1.0 linked manifests among the layers.
            if await self._lister.target(layout.layer_link(name, digest)) is None:
                self._report.note_problem(f"{name}:{tag}: missing manifest {digest}")
                continue
            closure.note(await read_references(self._store, digest))
            self._marks.need_blob(name, digest)
        return closure.keeps_all_blobs

    async def _mark_layers(self, repository: RepositoryMarks, *, keeps_all: bool) -> None:
        name, marks = repository.name, self._marks
        aliases: list[FoundLink] = []
        unreadable: list[str] = []
        async for found in self._lister.layers(name, unreadable.append):
            repository.see(found.key, found.modified_at)
            is_young, is_pinned = found.modified_at > self._young_after, found.digest in self._pinned
            if keeps_all or is_young or is_pinned:
                if not keeps_all and not marks.needs_link(name, found.digest):
                    self._report.kept_young += is_young
                    self._report.kept_pinned += not is_young
                marks.need_blob(name, found.digest)
            elif not marks.needs_link(name, found.digest):
                repository.is_dirty = True
            if found.digest.algorithm != CANONICAL:
                aliases.append(found)
        for found in aliases:
            await self._follow_alias(name, found)
        await self._need_targets(unreadable)

    async def _follow_alias(self, name: RepositoryName, found: FoundLink) -> None:
        # Distribution stores content pushed by sha512 under its sha256 digest; the sha512 link holds the sha256 digest.
        if self._marks.needs_link(name, found.digest) and (target := await self._lister.target(found.key)):
            self._marks.need_blob(name, target)

    def _count(self, name: RepositoryName, listing: ManifestListing) -> None:
        report = self._report
        report.repositories += 1
        report.manifests += len(listing.revisions)
        report.tags += len(listing.tags)
        report.current = name
