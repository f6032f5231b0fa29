"""The facade of the domain: the services of a process, and the operations that combine several services."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from core.concurrency import map_bounded, slices
from core.model.digest import Digest
from core.model.events import Actor, EventAction
from core.model.manifest import StoredManifest
from core.model.names import Reference, RepositoryName, Tag
from core.registry.blobs import BlobService
from core.registry.catalog import CatalogService
from core.registry.manifests import ManifestService, PushedManifest
from core.registry.publisher import Publisher
from core.registry.referrers import ReferrerService
from core.registry.repositories import RepositoryRemoval, RepositoryService
from core.registry.tags import TagService
from core.registry.uploads import UploadService
from core.restoration.service import Restoration, TrashService
from core.retention.pulls import PullRecorder
from core.retention.service import RetentionPlan, RetentionService
from core.summaries.changes import ChangeKind, ChangeRecorder
from core.summaries.lists import Lists

if TYPE_CHECKING:
    from core.summaries.repository_list import RepositoryLists
    from core.summaries.service import SummaryService
    from core.summaries.tag_history import HistoryService
    from core.summaries.tag_list import TagLists

_TAGS_AT_ONCE: Final = 50
"""Number of tags that retention deletes between two checks that the tags are unchanged since the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRemoval:
    """The result of a deletion of tags."""

    tags: Mapping[Tag, Digest]
    """The deleted tags, with the manifests that they pointed at."""
    entry: str | None = None
    """The name of the trash entry; None if nothing was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The services of one process, and the operations that combine several of them.

    Each change is published before its operation returns, whoever calls it. A change whose event cannot be recorded
    stands, but raises `StorageUnavailableError` (see `EventSink.emit`).
    """

    blobs: BlobService
    uploads: UploadService
    manifests: ManifestService
    tags: TagService
    referrers: ReferrerService
    catalog: CatalogService
    trash: TrashService
    repositories: RepositoryService
    retention: RetentionService
    publisher: Publisher
    changes: ChangeRecorder
    lists: Lists
    pulls: PullRecorder | None = None
    """Records the pulls of manifests, if a retention rule depends on them."""

    @property
    def summaries(self) -> "SummaryService":
        """The summaries of repositories and manifests."""
        return self.lists.services.summaries

    @property
    def history(self) -> "HistoryService":
        """The histories of tags."""
        return self.lists.services.history

    @property
    def tag_lists(self) -> "TagLists":
        """The lists of tags with details."""
        return self.lists.services.tag_lists

    @property
    def repository_lists(self) -> "RepositoryLists":
        """The lists of repositories with details."""
        return self.lists.services.repository_lists

    async def pull_manifest(
        self,
        name: RepositoryName,
        reference: Reference,
        *,
        by: Actor,
        describes: bool = False,
        is_held: Callable[[Digest], bool] | None = None,
    ) -> StoredManifest:
        """Return a manifest for a client (see `ManifestService.get`), and record and publish the pull.

        Args:
            name: the repository.
            reference: a tag or a digest.
            by: the client.
            describes: whether the client asks for the description only (see `ManifestService.describe`).
            is_held: whether the client has the manifest with this digest. The manifest is then not sent again, so that
                no event is published.
        """
        # Clients send HEAD before a push and upload nothing if the manifest exists, so HEAD must fail for a damaged
        # image.
        find = self.manifests.describe if describes else self.manifests.get
        manifest = await find(name, reference)
        if self.pulls is not None:
            self.pulls.note(name, manifest.digest)
        if self.publisher.wants(EventAction.PULL, manifest.media_type) and not (is_held and is_held(manifest.digest)):
            await self.publisher.publish_pull(name, reference, manifest, by)
        return manifest

    async def push_manifest(
        self,
        name: RepositoryName,
        content: bytes,
        content_type: str,
        *,
        by: Actor,
        digest: Digest | None = None,
        tags: Sequence[Tag] = (),
    ) -> PushedManifest:
        """Store a manifest (see `ManifestService.put`), then add its repository to the catalog.

        A failing catalog index does not fail the push, which is durable by then; the name is added later.
        """
        pushed = await self.manifests.put(name, content, content_type, digest=digest, tags=tags)
        await self.catalog.record_push(name)
        if pushed.moved:
            moved = [(tag, pushed.digest) for tag in pushed.moved]
            await self.changes.record(ChangeKind.PUSH, name, tags=moved, by=by.name)
        elif pushed.tags:
            await self.changes.record_repetition(name, [(tag, pushed.digest) for tag in pushed.tags], by=by.name)
        else:
            self.lists.note(name)
        if self.publisher.wants(EventAction.PUSH, pushed.media_type):
            stored = StoredManifest(content=content, media_type=pushed.media_type, digest=pushed.digest)
            await self.publisher.publish_pushes([(name, tag, stored) for tag in pushed.tags or (None,)], by)
        return pushed

    async def put_back(self, name: RepositoryName, tag: Tag, digest: Digest, *, by: Actor) -> PushedManifest:
        """Point a tag at a manifest that the repository holds; everything happens as in a push of the manifest.

        Raises:
            ManifestUnknownError: the repository does not hold the manifest.
            ManifestInvalidError: the manifest is of schema 1, which cannot be pushed.
            DeniedError: the tag is immutable and points at another manifest.
        """
        manifest = await self.manifests.get(name, digest)
        return await self.push_manifest(name, manifest.content, manifest.media_type, by=by, digest=digest, tags=[tag])

    async def delete_manifest(self, name: RepositoryName, reference: Reference, *, by: Actor) -> Sequence[Tag]:
        """Delete a tag or a manifest; with its last manifest, a repository leaves the catalog.

        See `ManifestService.delete`.
        """
        removed = await self.manifests.delete(name, reference, by=by.name)
        digest = reference if isinstance(reference, Digest) else None
        if digest is not None:
            await self.catalog.record_removal(name)
        if removed:
            await self.changes.record(ChangeKind.DELETE, name, tags=list(removed.items()), by=by.name)
        else:
            self.lists.note(name)
        await self.publisher.publish_deletes(name, by, digest=digest, tags=list(removed))
        return list(removed)

    async def delete_tags(self, name: RepositoryName, tags: Mapping[Tag, Digest], *, by: Actor) -> TagRemoval:
        """Delete the tags that still point at these manifests, recorded in one trash entry. Manifests stay.

        Tags that are gone or were moved since the caller saw them are left alone. Costs a request per tag, in addition
        to those of `ManifestService.delete_tags`.

        Raises:
            DeniedError: one of the tags is immutable; no tag is deleted.
        """

        async def stands(tag: Tag) -> bool:
            return await self.manifests.tag_target(name, tag) == tags[tag]

        standing = zip(tags, await map_bounded(stands, tags), strict=True)
        going = {tag: tags[tag] for tag, is_standing in standing if is_standing}
        if not going:
            return TagRemoval(tags={})
        entry = await self.manifests.delete_tags(name, going, by=by.name)
        await self.changes.record(ChangeKind.DELETE, name, tags=list(going.items()), by=by.name)
        await self.publisher.publish_deletes(name, by, tags=list(going))
        return TagRemoval(tags=going, entry=entry)

    async def delete_repository(
        self, name: RepositoryName, *, by: Actor, reason: str = "", dry_run: bool = False
    ) -> RepositoryRemoval:
        """Delete a repository's tags and manifests (see `RepositoryService.delete`), and its name in the catalog."""
        removal = await self.repositories.delete(name, by=by.name, reason=reason, dry_run=dry_run)
        if not dry_run:
            await self.catalog.record_removal(name)
            await self.changes.record(ChangeKind.DELETE, name, tags=list(removal.tags.items()), by=by.name)
            await self.publisher.publish_deletes(name, by)
        return removal

    async def record_eviction(self, name: RepositoryName) -> None:
        """Update the catalog and the lists after images of a cached repository were evicted."""
        await self.catalog.record_removal(name)
        await self.changes.record(ChangeKind.OTHER, name, by="eviction")

    async def apply_retention(self, *, by: Actor, dry_run: bool = False) -> AsyncIterator[RetentionPlan]:
        """Delete the tags that no rule keeps, one repository at a time, and yield the result for each repository.

        A tag that is pushed between decision and deletion stays, except in a window of one or two requests.

        Args:
            by: the command or job, for the trash, the events and the audit records.
            dry_run: only report; delete nothing.
        """
        async for plan in self.retention.plans(merges_pulls=not dry_run):
            removed = list(plan.removed)
            for some in () if dry_run else slices(plan.going, _TAGS_AT_ONCE):
                if states := await self.retention.unchanged(plan.name, some):
                    tags = {state.tag: state.digest for state in states}
                    await self.manifests.delete_tags(plan.name, tags, by=by.name, reason="retention")
                    removed += states
                    await self.changes.record(ChangeKind.DELETE, plan.name, tags=list(tags.items()), by=by.name)
                    await self.publisher.publish_retention(plan.name, states, by)
            yield replace(plan, removed=removed)

    async def restore(
        self, entry: str, *, by: Actor, force: bool = False, repository: RepositoryName | None = None
    ) -> Restoration:
        """Restore a trash entry (see `TrashService.restore`), and add its repositories to the catalog.

        A push is published for each restored tag, which costs the reads of its manifest.
        """
        restoration = await self.trash.restore(entry, force=force, repository=repository)
        for name in restoration.repositories:
            await self.catalog.record_push(name)
            tags = [(tag, digest) for repository, tag, digest in restoration.tags if repository == name]
            await self.changes.record(ChangeKind.RESTORE, name, tags=tags, by=by.name)
        if restoration.tags and self.publisher.wants(EventAction.PUSH, ""):
            restored = [(name, tag, await self.manifests.get(name, digest)) for name, tag, digest in restoration.tags]
            await self.publisher.publish_pushes(restored, by)
        return restoration
