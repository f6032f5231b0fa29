"""The facade of the domain: the services of a process, and the operations that combine several services."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.concurrency import slices
from core.model.digest import Digest
from core.model.names import Reference, RepositoryName, Tag
from core.registry.blobs import BlobService
from core.registry.catalog import CatalogService
from core.registry.manifests import ManifestService, PushedManifest
from core.registry.referrers import ReferrerService
from core.registry.repositories import RepositoryRemoval, RepositoryService
from core.registry.tags import TagService
from core.registry.uploads import UploadService
from core.restoration.service import Restoration, TrashService
from core.retention.service import RetentionPlan, RetentionService

_TAGS_AT_ONCE: Final = 50
"""Number of tags that retention deletes between two checks that the tags are unchanged since the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The services of one process, and the operations that combine several of them."""

    blobs: BlobService
    uploads: UploadService
    manifests: ManifestService
    tags: TagService
    referrers: ReferrerService
    catalog: CatalogService
    trash: TrashService
    repositories: RepositoryService
    retention: RetentionService

    async def push_manifest(
        self,
        name: RepositoryName,
        content: bytes,
        content_type: str,
        *,
        digest: Digest | None = None,
        tags: Sequence[Tag] = (),
    ) -> PushedManifest:
        """Store a manifest (see `ManifestService.put`), then add its repository to the catalog.

        A failing catalog index does not fail the push, which is durable by then; the name is added later.
        """
        pushed = await self.manifests.put(name, content, content_type, digest=digest, tags=tags)
        await self.catalog.record_push(name)
        return pushed

    async def delete_manifest(self, name: RepositoryName, reference: Reference, *, by: str = "") -> Sequence[Tag]:
        """Delete a tag or a manifest; with its last manifest, a repository leaves the catalog.

        See `ManifestService.delete`.
        """
        removed = await self.manifests.delete(name, reference, by=by)
        if isinstance(reference, Digest):
            await self.catalog.record_removal(name)
        return removed

    async def delete_repository(
        self, name: RepositoryName, *, by: str = "", reason: str = "", dry_run: bool = False
    ) -> RepositoryRemoval:
        """Delete a repository's tags and manifests (see `RepositoryService.delete`), and its name in the catalog."""
        removal = await self.repositories.delete(name, by=by, reason=reason, dry_run=dry_run)
        if not dry_run:
            await self.catalog.record_removal(name)
        return removal

    async def apply_retention(self, *, by: str = "", dry_run: bool = False) -> AsyncIterator[RetentionPlan]:
        """Delete the tags that no rule keeps, one repository at a time, and yield the result for each repository.

        A tag that is pushed between decision and deletion stays, except in a window of one or two requests.

        Args:
            by: the requesting user, for the record.
            dry_run: only report; delete nothing.
        """
        async for plan in self.retention.plans(merges_pulls=not dry_run):
            removed = list(plan.removed)
            for some in () if dry_run else slices(plan.going, _TAGS_AT_ONCE):
                if states := await self.retention.unchanged(plan.name, some):
                    tags = {state.tag: state.digest for state in states}
                    await self.manifests.delete_tags(plan.name, tags, by=by, reason="retention")
                    removed += states
            yield replace(plan, removed=removed)

    async def restore(self, entry: str, *, force: bool = False) -> Restoration:
        """Restore a trash entry (see `TrashService.restore`), and add its repositories to the catalog."""
        restoration = await self.trash.restore(entry, force=force)
        for name in restoration.repositories:
            await self.catalog.record_push(name)
        return restoration
