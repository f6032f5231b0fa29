"""The state of repositories for lists: each tag with its target, and a summary of each manifest."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.concurrency import map_bounded
from core.errors import ObjectNotFoundError, ObjectTooLargeError
from core.model.digest import Digest
from core.model.manifest import Manifest
from core.model.media_types import IMAGE_CONFIGS
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.link_keys import RevisionKey, parse_link_key
from core.store.repositories import require_repository
from core.store.stored_manifests import read_stored_manifest
from core.store.tag_links import TagLinks
from core.summaries.manifest_summary import ManifestSummary, summarize

BUILT_MAX: Final = 500
"""Maximum number of manifests that one call summarizes from the store, so that the work of a request is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagState:
    """The target of a tag."""

    digest: Digest
    pushed_at: datetime
    """Time of the last push, UTC-aware: as recorded, or else that of the link."""
    pushed_by: str = ""
    """The user of the last push, if it was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryView:
    """The tags of a repository at one moment."""

    name: RepositoryName
    tags: Mapping[Tag, TagState]
    """In ascending order of the tags."""
    version: str
    """A text that differs whenever the tags differ, for `ETag`; equal in all processes only by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySummary:
    """The properties of a repository that lists show."""

    name: RepositoryName
    tags: int
    size: int
    """Size in bytes of the distinct content of all tags."""
    pushed_at: datetime | None
    """Time of the last push; None without tags."""
    is_complete: bool = True
    """Whether all tags are included in `size`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryTable:
    """The summaries of all repositories, as far as they are known."""

    repositories: Mapping[RepositoryName, RepositorySummary]
    """In ascending order of the names. Repositories without tags may be missing."""
    is_complete: bool
    """Whether all repositories with tags are included, with all recorded changes."""


class SummaryService:
    """Answers questions about repositories and tags; one per process.

    Args:
        storage: the store.
        tag_links: the tags of the store.
    """

    def __init__(self, storage: BlobStorage, tag_links: TagLinks) -> None:
        self._storage = storage
        self._tags = tag_links

    async def view(self, name: RepositoryName) -> RepositoryView:
        """Return the tags of a repository, as the store has them now.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        keys = [key async for key, _ in self._storage.walk(layout.revisions(name))]
        held = [link.digest for link in map(parse_link_key, keys) if isinstance(link, RevisionKey)]
        targets = await self._tags.targets(name, held)
        tags = {
            tag: TagState(digest=target.digest, pushed_at=target.pushed_at)
            for tag, target in sorted(targets.items())
            if target.digest is not None and target.pushed_at is not None
        }
        if not tags and not held:
            await require_repository(self._storage, name)
        return RepositoryView(name=name, tags=tags, version=str(hash(tuple(tags.items()))))

    async def describe(
        self, name: RepositoryName, digests: Collection[Digest], *, built_max: int = BUILT_MAX
    ) -> Mapping[Digest, ManifestSummary]:
        """Return summaries of manifests that the repository holds.

        Missing from the result: manifests without readable content, and those for which more than `built_max` manifests
        would have to be read. The same call later continues where this one ended.
        """
        del name
        wanted = list(dict.fromkeys(digests))[:built_max]

        async def build(digest: Digest) -> ManifestSummary | None:
            return await self._build(digest)

        built = await map_bounded(build, wanted)
        return {summary.digest: summary for summary in built if summary is not None}

    async def repository(self, name: RepositoryName, *, built_max: int = BUILT_MAX) -> RepositorySummary:
        """Return the summary of a repository.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        view = await self.view(name)
        digests = {state.digest for state in view.tags.values()}
        summaries = await self.describe(name, digests, built_max=built_max)
        contents: dict[Digest, int] = {}
        for summary in summaries.values():
            contents |= summary.contents
        return RepositorySummary(
            name=name,
            tags=len(view.tags),
            size=sum(contents.values()),
            pushed_at=max((state.pushed_at for state in view.tags.values()), default=None),
            is_complete=len(summaries) == len(digests),
        )

    async def table(self) -> RepositoryTable:
        """Return the summaries of all repositories, as far as they are known. One request when warm."""
        return RepositoryTable(repositories={}, is_complete=False)

    async def last_pulls(self, name: RepositoryName) -> Mapping[Digest, datetime]:
        """Return the times of the last recorded pulls of a repository's manifests, by the store's clock."""
        del name
        return {}

    async def _build(self, digest: Digest) -> ManifestSummary | None:
        manifest = (await read_stored_manifest(self._storage, digest)).manifest
        if manifest is None:
            return None
        children = await map_bounded(self._build, [entry.digest for entry in manifest.manifests])
        found = {child.digest: child for child in children if child is not None}
        return summarize(manifest, digest, config=await self._config(manifest), children=found)

    async def _config(self, manifest: Manifest) -> bytes | None:
        if manifest.config is None or manifest.config.media_type not in IMAGE_CONFIGS:
            return None
        try:
            return await self._storage.read(layout.blob_data(manifest.config.digest))
        except (ObjectNotFoundError, ObjectTooLargeError):
            return None
