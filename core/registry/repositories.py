"""Deletion of whole repositories."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from core.collection.guard import CollectionGuard
from core.errors import DeniedError, UnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.restoration.restoring import ImageRestorer
from core.store import layout
from core.store.link_keys import ReferrerKey, RevisionKey, digest_at, parse_link_key
from core.store.links import Links, RemovedLink
from core.store.repositories import require_repository
from core.store.tag_links import TagLinks
from core.trash.entry import TrashKind
from core.trash.store import Trash

_TAGS_LISTED_MAX = 10
"""Maximum number of immutable tags listed in the error for a refused deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRemoval:
    """The content that a deletion of a repository removes, or would remove."""

    name: RepositoryName
    tags: Mapping[Tag, Digest | None]
    """The target of each tag; None if the link could not be read."""
    manifests: Sequence[Digest]
    entry: str | None = None
    """The name of the trash entry; None if nothing was recorded."""


@dataclass(slots=True)
class _Contents:
    """The links of a repository: keys or tags with the digests that they hold."""

    revisions: dict[str, Digest] = field(default_factory=dict)
    signatures: dict[str, Digest] = field(default_factory=dict)
    referrers: dict[str, Digest] = field(default_factory=dict)
    tags: dict[Tag, Digest | None] = field(default_factory=dict)


class RepositoryService:
    """Deletes repositories; one per process.

    Args:
        storage: the store.
        links: the links of the store.
        tag_links: the tags of the store.
        trash: records the deletion.
        guard: protects content that a concurrent push requires from collection.
        is_immutable: whether a tag is immutable.
    """

    def __init__(
        self,
        storage: BlobStorage,
        links: Links,
        tag_links: TagLinks,
        trash: Trash,
        *,
        guard: CollectionGuard,
        is_immutable: Callable[[RepositoryName, Tag], bool],
    ) -> None:
        self._storage = storage
        self._links = links
        self._tags = tag_links
        self._trash = trash
        self._guard = guard
        self._is_immutable = is_immutable

    async def delete(
        self, name: RepositoryName, *, by: str = "", reason: str = "", dry_run: bool = False
    ) -> RepositoryRemoval:
        """Remove all tags, manifests and referrer links of a repository.

        Links to blobs stay, since a push may be about to refer to them; garbage collection removes them later. A
        concurrent push stands, with all content that it refers to. The trash records the deletion before anything is
        removed. Tags are removed before manifests, so that no listed tag lacks its manifest. Costs five listings within
        the repository, and a read per tag if the store does not list checksums.

        Args:
            name: the repository.
            by: the requesting user, for the record.
            reason: the reason, for the record.
            dry_run: only report; remove nothing.

        Raises:
            NameUnknownError: the repository does not exist.
            DeniedError: the repository has immutable tags; nothing is removed.
        """
        contents = await self._contents(name)
        if not (contents.revisions or contents.tags):
            await require_repository(self._storage, name)
        self._require_mutable(name, contents.tags)
        removal = RepositoryRemoval(
            name=name, tags=contents.tags, manifests=tuple(dict.fromkeys(contents.revisions.values()))
        )
        if dry_run or not (contents.revisions or contents.tags):
            return removal
        entry = self._trash.new_entry(TrashKind.REPOSITORY, repository=name, by=by, reason=reason)
        removed = _removed_links(name, contents)
        recorded = await self._trash.record(entry, links=[RemovedLink(*link) for link in removed.items()])
        await self._tags.remove(name, list(contents.tags))
        await self._storage.delete([*contents.referrers, *contents.signatures, *contents.revisions])
        await self._restore_pushed(name, removed)
        emptied = [layout.tags(name), layout.revisions(name), layout.all_referrers(name)]
        await self._storage.prune(emptied, below=layout.REPOSITORIES)
        return RepositoryRemoval(
            name=name, tags=removal.tags, manifests=removal.manifests, entry=entry.id if recorded else None
        )

    async def _contents(self, name: RepositoryName) -> _Contents:
        contents = _Contents()
        async for key, _ in self._storage.walk(layout.revisions(name)):
            if isinstance(link := parse_link_key(key), RevisionKey):
                contents.revisions[key] = link.digest
            elif (target := digest_at(*key.split("/")[-3:-1])) is not None:
                contents.signatures[key] = target
        held = set(contents.revisions.values())
        async for key, _ in self._storage.walk(layout.all_referrers(name)):
            if isinstance(link := parse_link_key(key), ReferrerKey) and link.digest in held:
                contents.referrers[key] = link.digest
        contents.tags = {tag: target.digest for tag, target in (await self._tags.targets(name, held)).items()}
        return contents

    def _require_mutable(self, name: RepositoryName, tags: Mapping[Tag, Digest | None]) -> None:
        kept = [tag for tag in tags if self._is_immutable(name, tag)]
        if kept:
            raise DeniedError(
                f"the repository cannot be deleted: it has {len(kept)} immutable tags",
                detail={"name": name, "tags": kept[:_TAGS_LISTED_MAX]},
            )

    async def _restore_pushed(self, name: RepositoryName, removed: Mapping[str, Digest]) -> None:
        """Restore the content that a concurrent push requires: its manifest, or an image of its index."""
        restorer = ImageRestorer(self._storage, self._links, self._trash, removed, guard=self._guard)
        pushed = await self._contents(name)
        for digest in [*pushed.revisions.values(), *(target for target in pushed.tags.values() if target)]:
            try:
                await restorer.restore(name, digest)
            except UnknownError:
                # The push lacks some content, which is allowed if the registry does not check manifests.
                continue


def _removed_links(name: RepositoryName, contents: _Contents) -> dict[str, Digest]:
    tags = {layout.tag_current_link(name, tag): target for tag, target in contents.tags.items() if target is not None}
    return contents.revisions | contents.signatures | contents.referrers | tags
