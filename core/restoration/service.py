"""Operations on the trash for operators: listing, restoring and ending entries."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from core.collection.guard import CollectionGuard
from core.concurrency import map_bounded
from core.errors import BlobUnknownError, DeniedError, UnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.ports.blob_storage import BlobStorage
from core.restoration.listing import NewestRemovals, Removal, TagOf, newest_of, page_of, removal_of, with_part
from core.restoration.restoring import ImageRestorer
from core.store import layout
from core.store.link_keys import LayerKey, ReferrerKey, RevisionKey, TagKey, keyed, parse_link_key, parsed
from core.store.links import Links
from core.store.tag_links import TagLinks
from core.trash.entry import TrashEntry, TrashKind, kind_of, may_concern, time_in
from core.trash.store import Trash, TrashSummary

_KINDS_OF_MANY_ITEMS: Final = frozenset(
    {TrashKind.REPOSITORY, TrashKind.COLLECTION, TrashKind.QUARANTINE, TrashKind.EVICTION}
)
_ATTEMPTS: Final = 3
"""Attempts to find an item in the trash history before it is treated as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """The result of a restoration."""

    entry: TrashEntry
    tags: tuple[TagOf, ...]
    manifests: int
    repositories: tuple[RepositoryName, ...]
    """Repositories that hold a restored manifest."""
    missing: tuple[Digest, ...]
    """Images of an index, and referrers, that no longer exist anywhere."""
    lost: tuple[Digest, ...]
    """If many items were removed together: those that could not be restored. The entry then stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The part of an entry that is to be restored."""

    entry: TrashEntry
    links: Mapping[str, Digest]
    blobs: Sequence[Digest] = ()
    rest: Mapping[str, Digest] = field(default_factory=dict)
    """The links of the entry that are not to be restored."""
    is_one: bool
    """Whether this is a single item, which is restored completely or not at all."""


@dataclass(slots=True)
class _History:
    """Links that were removed from the repositories in question."""

    removed: dict[str, Digest] = field(default_factory=dict)
    collected: dict[str, Digest] = field(default_factory=dict)
    """Links that garbage collection removed because their subject or manifest was gone."""


class TrashService:
    """Lists, restores and ends trash entries; one per process.

    Args:
        storage: the store.
        trash: the trash of the store.
        links: the links of the store.
        tag_links: the tags of the store.
        guard: protects restored content from garbage collection.
        is_immutable: whether a tag is immutable.
    """

    def __init__(
        self,
        storage: BlobStorage,
        trash: Trash,
        links: Links,
        tag_links: TagLinks,
        *,
        guard: CollectionGuard,
        is_immutable: Callable[[RepositoryName, Tag], bool],
    ) -> None:
        self._storage = storage
        self._trash = trash
        self._links = links
        self._tags = tag_links
        self._guard = guard
        self._is_immutable = is_immutable

    @property
    def keep(self) -> timedelta:
        """The time during which deletions can be undone; zero if they are not recorded."""
        return self._trash.keep

    async def removals(self, repository: RepositoryName | None = None) -> AsyncIterator[Removal]:
        """Yield the entries of the trash, oldest first; only those of `repository` if it is given.

        One storage request per part of an entry, 16 concurrently, plus the listing. Entries of other repositories cost
        no request, except those that an older version recorded.
        """
        removal: Removal | None = None
        async for part in self._trash.all_parts(repository):
            if repository not in {None, part.entry.repository}:
                continue
            if removal is not None and removal.entry.id == part.entry.id:
                removal = with_part(removal, part)
                continue
            if removal is not None:
                yield removal
            removal = with_part(Removal(entry=part.entry, parts=0), part)
        if removal is not None:
            yield removal

    async def page(
        self, *, n: int | None = None, last: str = "", repository: RepositoryName | None = None
    ) -> Page[Removal]:
        """Return a page of the entries (see `page_of`)."""
        return await page_of(self._trash, n=n, last=last, repository=repository)

    async def newest(
        self, *, n: int, last: str = "", before: str = "", repository: RepositoryName | None = None
    ) -> NewestRemovals:
        """Return a page of the entries, newest first (see `newest_of`)."""
        return await newest_of(self._trash, n=n, last=last, before=before, repository=repository)

    async def removal(self, name: str) -> Removal:
        """Return one entry (see `removal_of`).

        Raises:
            UnknownError: there is no such entry.
        """
        found = await removal_of(self._trash, name) if time_in(name) else None
        if found is None:
            raise _unknown(name)
        return found

    @property
    def is_on(self) -> bool:
        """Whether deletions are recorded."""
        return self._trash.is_on

    def expires_at(self, entry: TrashEntry) -> datetime:
        """Return when an entry may end (see `Trash.expires_at`)."""
        return self._trash.expires_at(entry)

    async def restore(self, name: str, *, force: bool = False, repository: RepositoryName | None = None) -> Restoration:
        """Restore the items of an entry, with whole images, and end the entry.

        A tag is restored with its manifest, the images of an index, their blobs and links, and the referrers that were
        collected later. Idempotent: existing objects are left alone. A kill in between leaves an entry that can be
        restored again, and no tag that cannot be pulled. Reads the entries of the repository and of all collections.

        Args:
            name: the entry's name, or `repository:tag` for this tag alone, in the state of its most recent entry.
            force: move tags that point at another manifest now.
            repository: the only repository whose entries can be restored; others are unknown.

        Raises:
            UnknownError: there is no such entry, or the trash no longer has all content of a single tag, manifest or
                blob. Nothing then points at the content that was restored.
            DeniedError: a tag points at another manifest now, and is immutable or `force` was not given.
        """
        if repository is not None and not may_concern(name, repository):
            raise _unknown(name)
        wanted = await self._wanted(name)
        if repository not in {None, wanted.entry.repository}:
            raise _unknown(name)
        tags = [(key.name, key.tag, target) for key, target in parsed(wanted.links) if isinstance(key, TagKey)]
        await self._require_free(tags, force=force)

        async def return_copy(digest: Digest) -> bool:
            return await self._trash.return_copy(digest, wanted.entry)

        await map_bounded(return_copy, wanted.blobs)
        restorer, history, lost = await self._restore_wanted(wanted)
        await self._restore_referrers(restorer, history.collected)
        lost += await self._restore_links(restorer, wanted)
        # Tags come last, because they make the images pullable.
        restored = [tag for tag in tags if (tag[0], tag[2]) in restorer.manifests]
        for owner, tag, target in restored:
            if await self._tags.resolve(owner, tag) != target:
                await self._tags.point(owner, tag, target)
        if not lost and await self._is_back(wanted.rest):
            await self._trash.discard(wanted.entry.id)
        return Restoration(
            entry=wanted.entry,
            tags=tuple(restored),
            manifests=len(restorer.manifests),
            repositories=tuple(dict.fromkeys(repository for repository, _ in restorer.manifests)),
            missing=tuple(sorted(restorer.missing)),
            lost=tuple(lost),
        )

    async def _restore_wanted(self, wanted: _Wanted) -> tuple[ImageRestorer, _History, list[Digest]]:
        """Restore the requested manifests; also return the history and the lost digests."""
        attempts_left = _ATTEMPTS
        while True:
            attempts_left -= 1
            history = await self._history({key.name for key, _ in parsed(wanted.links)})
            removed = {**history.removed, **wanted.links}
            restorer = ImageRestorer(self._storage, self._links, self._trash, removed, guard=self._guard)
            try:
                lost = await self._restore_manifests(restorer, wanted)
            except UnknownError:
                if not attempts_left:
                    raise
                continue
            # A running collection may have removed and recorded content after the history was read.
            if not attempts_left or not (lost or restorer.missing):
                return restorer, history, lost

    async def discard(self, name: str) -> TrashSummary:
        """End one entry, so that its items can no longer be restored.

        Raises:
            UnknownError: there is no such entry.
        """
        return await self._trash.discard((await self._read(name))[0].id)

    async def empty(self) -> TrashSummary:
        """End all entries (see `Trash.empty`)."""
        return await self._trash.empty()

    async def expire(self) -> TrashSummary:
        """End the entries that are older than the configured time (see `Trash.expire`)."""
        return await self._trash.expire()

    async def _wanted(self, name: str) -> _Wanted:
        path, colon, _ = name.partition(":")
        # Entry names contain no colon.
        if not colon:
            entry, links, blobs = await self._read(name)
            return _Wanted(entry=entry, links=links, blobs=blobs, is_one=entry.kind not in _KINDS_OF_MANY_ITEMS)
        found = None
        async for removal in self.removals(RepositoryName(path)):
            for repository, tag, _ in removal.tags:
                if f"{repository}:{tag}" == name:
                    found = removal.entry.id, layout.tag_current_link(repository, tag)
        if found is None:
            raise _unknown(name)
        entry, links, _ = await self._read(found[0])
        target = links.pop(found[1])
        return _Wanted(entry=entry, links={found[1]: target}, is_one=True, rest=links)

    async def _read(self, name: str) -> tuple[TrashEntry, dict[str, Digest], list[Digest]]:
        is_name = kind_of(name) is not None and "/" not in name
        parts = [part async for part in self._trash.parts(name)] if is_name else []
        if not parts:
            raise _unknown(name)
        links = {link.key: link.target for part in parts for link in part.links}
        return parts[0].entry, links, [digest for part in parts for digest in part.blobs]

    async def _is_back(self, links: Mapping[str, Digest]) -> bool:
        """Whether all of these links exist as recorded."""

        async def is_back(link: tuple[str, Digest]) -> bool:
            return await self._links.read(link[0]) == link[1]

        return all(await map_bounded(is_back, links.items()))

    async def _require_free(self, tags: Sequence[TagOf], *, force: bool) -> None:
        async def resolve(of: TagOf) -> Digest | None:
            return await self._tags.resolve(of[0], of[1])

        for (name, tag, target), current in zip(tags, await map_bounded(resolve, tags), strict=True):
            if current in {None, target}:
                continue
            is_immutable = self._is_immutable(name, tag)
            detail = {"name": name, "tag": tag, "digest": current, "immutable": is_immutable}
            if is_immutable:
                raise DeniedError(
                    f"the tag {name}:{tag} is immutable and now points to another manifest", detail=detail
                )
            if not force:
                raise DeniedError(f"the tag {name}:{tag} now points to another manifest", detail=detail)

    async def _history(self, names: AbstractSet[RepositoryName]) -> _History:
        """Return the other links that were removed from these repositories."""
        history = _History()
        async for part in self._trash.all_parts():
            is_collected = part.entry.kind is TrashKind.COLLECTION
            if is_collected or part.entry.repository in names:
                links = {link.key: link.target for link in part.links}
                ours = {link: links[link] for link, key in keyed(links) if key.name in names}
                history.removed |= ours
                history.collected |= ours if is_collected else {}
        return history

    async def _restore_manifests(self, restorer: ImageRestorer, wanted: _Wanted) -> list[Digest]:
        lost: list[Digest] = []
        pointing = [(key, target) for key, target in parsed(wanted.links) if isinstance(key, TagKey | RevisionKey)]
        for name, digest in dict.fromkeys((key.name, target) for key, target in pointing):
            try:
                await restorer.restore(name, digest)
            except UnknownError:
                # One image that was incomplete before the removal must not prevent the restoration of the others.
                if wanted.is_one:
                    raise
                lost.append(digest)
        return lost

    async def _restore_referrers(self, restorer: ImageRestorer, collected: Mapping[str, Digest]) -> None:
        """Restore referrers that were collected because their subject was gone."""
        referrers: dict[tuple[RepositoryName, Digest], list[Digest]] = {}
        for key, _ in parsed(collected):
            if isinstance(key, ReferrerKey):
                referrers.setdefault((key.name, key.subject), []).append(key.digest)
        pending = list(restorer.manifests)
        while pending:
            name, _ = subject = pending.pop()
            for digest in referrers.pop(subject, ()):
                known = len(restorer.manifests)
                try:
                    await restorer.restore(name, digest)
                except UnknownError:
                    # A lost signature does not prevent the restoration of its image.
                    restorer.missing.add(digest)
                pending += list(restorer.manifests)[known:]

    async def _restore_links(self, restorer: ImageRestorer, wanted: _Wanted) -> list[Digest]:
        lost: list[Digest] = []
        for link, target in wanted.links.items():
            key = parse_link_key(link)
            if isinstance(key, TagKey | RevisionKey) or await restorer.restore_link(link, target):
                continue
            if isinstance(key, LayerKey):
                if wanted.is_one:
                    raise BlobUnknownError("the blob is no longer in the trash", detail=target)
                lost.append(target)
        return lost


def _unknown(name: str) -> UnknownError:
    return UnknownError("no such entry in the trash", detail={"entry": name})
