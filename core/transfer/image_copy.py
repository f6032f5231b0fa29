"""Copy of images from one registry to another, through the two ports, for mirrors and `registry copy` with URLs.

For each image: the entries of an index, then its blobs, then its referrers, then its manifest, and the tags last. So a
tag at the target always has its image and its signatures, and a copy that was interrupted continues where it ended.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from core.concurrency import closing, for_each, map_bounded, stream
from core.coordination.budget import Budget
from core.errors import (
    DigestMismatchError,
    ManifestInvalidError,
    RegistryError,
    SizeMismatchError,
    UpstreamAbsentError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import Manifest, parse_manifest
from core.model.media_types import OCI_INDEX
from core.model.names import RepositoryName, Tag
from core.ports.registry_target import NewManifest, RegistryTarget
from core.ports.upstream import Upstream, UpstreamManifest
from core.transfer.fallback_tags import fallback_entries, fallback_tag, render_fallback
from core.transfer.mirror_rules import ReferrerCopies, TagRules
from core.transfer.reading import BlobReading, Patience
from core.transfer.tally import Tally, Trouble

TAGS_MAX: Final = 100_000
"""Maximum number of tags of a repository that are read."""
_REFERRERS_MAX: Final = 10_000
_DEPTH_MAX: Final = 8
"""Maximum depth of nested indexes and of referrers of referrers."""
_ATTACHMENTS: Final = ("sig", "att", "sbom")
"""Suffixes of the tags under which cosign 2 stores signatures, attestations and SBOMs of an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """Choices that are the same for all repositories of a copy."""

    wants_platform: Callable[[tuple[str, str] | None], bool] = lambda _platform: True
    """Whether an entry of an index with this platform is copied."""
    referrers: ReferrerCopies = ReferrerCopies.NEW
    follows_deletions: bool = False
    """Whether a tag that the source no longer has is deleted at the target."""
    rechecks: bool = False
    """Whether the content of unchanged tags is checked too."""
    is_dry: bool = False
    """Whether nothing is written."""
    blobs_at_once: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryCopyRequest:
    """One repository to copy."""

    origin: str
    """The name at the source."""
    name: RepositoryName
    """The name at the target."""
    rules: TagRules = field(default_factory=TagRules)
    """The tags to copy."""
    tag: Tag | None = None
    """The only tag to copy, whatever the rules."""
    digest: Digest | None = None
    """The only image to copy, whatever the rules and tags."""


class ImageCopy:
    """One pass of a copy between two registries.

    An unchanged tag costs one `HEAD` at each of them. Content that was copied before an error stays.

    Args:
        source: the registry to read.
        target: the registry to write.
        options: choices for all repositories.
        tally: counts the work, and reports images that could not be copied.
        budget: limits the requests and bytes per second.
        sleep: suspends for a number of seconds.
    """

    def __init__(
        self,
        source: Upstream,
        target: RegistryTarget,
        *,
        options: CopyOptions,
        tally: Tally,
        budget: Budget,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._tally = tally
        self._budget = budget
        self._patience = Patience(sleep, budget)
        self._homes: dict[Digest, RepositoryName] = {}
        """A repository of the target for each blob that this pass saw there, to mount the blob from."""

    async def repositories(self, covers: Callable[[str], bool]) -> list[str]:
        """Return the repositories of the source that match. Costs one `GET` per page of its catalog.

        Raises:
            UpstreamAbsentError: the source does not list its repositories.
        """

        async def list_all() -> list[str]:
            async with closing(self._source.repositories()) as names:
                return [name async for name in names if covers(name)]

        return await self._patience.call(list_all)

    async def run(self, request: RepositoryCopyRequest) -> None:
        """Copy the chosen images of one repository, and delete tags if the options require it.

        Raises:
            UpstreamError: a registry kept failing; run again to continue.
            StorageError: the store of the target failed.
        """
        self._tally.begin(request.name)
        work = _RepositoryCopy(self, request)
        if request.digest is not None:
            await work.image(request.digest, [request.tag] if request.tag else [])
        elif request.tag is not None:
            await work.tags([request.tag], listed=frozenset(), is_named=True)
        else:
            await work.chosen()

    @property
    def source(self) -> Upstream:
        """The registry that is read."""
        return self._source

    @property
    def target(self) -> RegistryTarget:
        """The registry that is written."""
        return self._target

    @property
    def options(self) -> CopyOptions:
        """Choices for all repositories."""
        return self._options

    @property
    def tally(self) -> Tally:
        """Counts of the pass."""
        return self._tally

    @property
    def patience(self) -> Patience:
        """Repeats calls that fail."""
        return self._patience

    async def blob(self, origin: str, name: RepositoryName, blob: Descriptor) -> None:
        """Copy one blob unless the target has it.

        Raises:
            UpstreamAbsentError: the source does not have the blob.
            DigestMismatchError: the bytes of the source do not match the digest.
        """
        digest = blob.digest
        if await self._patience.call(lambda: self._target.has_blob(name, digest)) or await self._is_mounted(name, blob):
            self._tally.add(blobs_present=1)
        elif self._options.is_dry:
            self._tally.add(blobs_sent=1, bytes_sent=blob.size)
        else:
            reading = BlobReading(
                self._source, origin, blob, patience=self._patience, budget=self._budget, tally=self._tally
            )
            await self._patience.call(lambda: self._target.put_blob(name, blob, reading.pieces))
            self._tally.add(blobs_sent=1)
        self._homes.setdefault(digest, name)

    async def _is_mounted(self, name: RepositoryName, blob: Descriptor) -> bool:
        home = self._homes.get(blob.digest)
        if self._options.is_dry:
            return home is not None
        return await self._patience.call(lambda: self._target.mount(name, blob.digest, source=home))


@dataclass(frozen=True, slots=True)
class _Image:
    """An image of the source, and the tags that have to be pointed at it."""

    digest: Digest
    changed: Sequence[Tag]


class _RepositoryCopy:
    """The copy of one repository."""

    def __init__(self, copy: ImageCopy, request: RepositoryCopyRequest) -> None:
        self._copy = copy
        self._source = copy.source
        self._target = copy.target
        self._options = copy.options
        self._tally = copy.tally
        self._call = copy.patience.call
        self._origin = request.origin
        self._name = request.name
        self._rules = request.rules
        self._done: set[Digest] = set()
        """Manifests that the target has, with all they refer to."""

    async def chosen(self) -> None:
        """Copy the tags that the rules choose."""
        try:
            listed = await self._call(self._list)
        except UpstreamAbsentError as error:
            self._tally.add_problem(Trouble.MISSING, self._name, self._origin, str(error))
            return
        await self.tags(self._rules.choose(listed), listed=frozenset(listed))
        # An upstream that lost its tags looks like one where all tags were deleted.
        if listed and (self._options.follows_deletions or self._options.is_dry):
            await self._delete_others(frozenset(listed))

    async def tags(self, tags: Sequence[Tag], *, listed: frozenset[Tag], is_named: bool = False) -> None:
        """Copy the images of these tags; `listed` has all tags of the source if they are known."""
        images: dict[Digest, list[Tag]] = {}
        for found in await map_bounded(lambda tag: self._look(tag, is_named=is_named), tags):
            if found is not None:
                images.setdefault(found.digest, []).extend(found.changed)
        for digest, changed in images.items():
            known = set(self._done)
            await self.image(digest, changed)
            await self._attachments(self._done - known, listed)

    async def image(self, digest: Digest, tags: Sequence[Tag]) -> None:
        """Copy an image and point tags at it; report a problem if this fails for good."""
        subject = tags[0] if tags else digest
        try:
            await self._manifest(digest, tags=tags)
        except UpstreamAbsentError as error:
            self._tally.add_problem(Trouble.MISSING, self._name, subject, str(error))
        except (DigestMismatchError, SizeMismatchError) as error:
            self._tally.add_problem(Trouble.DAMAGED, self._name, subject, str(error))
        except RegistryError as error:
            self._tally.add_problem(Trouble.INCOMPLETE, self._name, subject, _text(error))

    async def _list(self) -> list[Tag]:
        listed: list[Tag] = []
        async with closing(self._source.tags(self._origin)) as tags:
            async for tag in tags:
                listed.append(tag)
                if len(listed) > TAGS_MAX:
                    raise UpstreamAbsentError(f"{self._origin} has more than {TAGS_MAX} tags")
        return listed

    async def _look(self, tag: Tag, *, is_named: bool) -> "_Image | None":
        """Return the image of a tag, or None if there is nothing to copy."""
        try:
            found = await self._call(lambda: self._source.resolve(self._origin, tag))
        except UpstreamAbsentError as error:
            # Deleted since it was listed.
            if is_named:
                self._tally.add_problem(Trouble.MISSING, self._name, tag, str(error))
            return None
        there = await self._call(lambda: self._target.resolve(self._name, tag))
        if found is not None and (there != found.digest or self._options.rechecks):
            return _Image(found.digest, (tag,))
        if found is not None and self._options.referrers is ReferrerCopies.ALWAYS:
            return _Image(found.digest, ())
        return None

    async def _attachments(self, copied: set[Digest], listed: frozenset[Tag]) -> None:
        """Copy the tags that cosign 2 derived from the digests of images."""
        if self._options.referrers is ReferrerCopies.NONE or not listed:
            return
        names = [f"{digest.algorithm}-{digest.encoded}.{suffix}" for digest in copied for suffix in _ATTACHMENTS]
        # A tag has at most 128 characters, which is less than a SHA-512 digest.
        await self.tags([Tag(name) for name in sorted(names) if name in listed], listed=frozenset())

    async def _manifest(self, digest: Digest, *, tags: Sequence[Tag] = (), depth: int = 0) -> None:
        if depth > _DEPTH_MAX:
            raise ManifestInvalidError(f"manifests are nested more than {_DEPTH_MAX} levels deep")
        if digest in self._done and not tags:
            return
        is_there = await self._has(digest)
        if is_there and not tags:
            await self._late_referrers(digest, depth)
            self._done.add(digest)
            return
        found = await self._call(lambda: self._source.manifest(self._origin, digest))
        manifest = parse_manifest(found.content, found.media_type)
        if not is_there:
            await self._content(manifest, depth)
            if self._options.referrers is not ReferrerCopies.NONE:
                await self._referrers(digest, depth)
        else:
            await self._late_referrers(digest, depth)
        await self._store(found, manifest, tags)
        self._done.add(digest)

    async def _has(self, digest: Digest) -> bool:
        if digest in self._done:
            return True
        if self._options.rechecks:
            return False
        return await self._call(lambda: self._target.resolve(self._name, digest)) is not None

    async def _content(self, manifest: Manifest, depth: int) -> None:
        """Copy the entries of an index, and the blobs of a manifest."""
        children = [child for child in manifest.manifests if self._options.wants_platform(child.platform)]
        if manifest.manifests and not children:
            raise ManifestInvalidError("the image has none of the platforms to copy")
        for child in children:
            await self._manifest(child.digest, depth=depth + 1)
        others = {other.digest for other in manifest.others}
        blobs = {blob.digest: blob for blob in manifest.blobs() if not blob.urls}

        async def copy(blob: Descriptor) -> None:
            try:
                await self._copy.blob(self._origin, self._name, blob)
            except UpstreamAbsentError:
                if blob.digest not in others:
                    raise
                await self._manifest(blob.digest, depth=depth + 1)

        await for_each(copy, stream(blobs.values()), at_once=self._options.blobs_at_once)

    async def _late_referrers(self, digest: Digest, depth: int) -> None:
        if self._options.referrers is ReferrerCopies.ALWAYS:
            await self._referrers(digest, depth)

    async def _referrers(self, subject: Digest, depth: int) -> None:
        async def list_all() -> list[Descriptor]:
            async with closing(self._source.referrers(self._origin, subject)) as referrers:
                return await _bounded(referrers)

        for referrer in await self._call(list_all):
            await self._manifest(referrer.digest, depth=depth + 1)

    async def _store(self, found: UpstreamManifest, manifest: Manifest, tags: Sequence[Tag]) -> None:
        if not self._options.is_dry:
            new = NewManifest(content=found.content, media_type=manifest.media_type, digest=found.digest)
            is_listed = await self._call(lambda: self._target.put_manifest(self._name, new, tags))
            if not is_listed and manifest.subject is not None:
                await self._list_under_fallback_tag(manifest.subject.digest, manifest.describe(found.digest))
        self._tally.add(manifests_copied=1, tags_copied=len(tags))

    async def _list_under_fallback_tag(self, subject: Digest, referrer: Descriptor) -> None:
        """Add a referrer to the index under the fallback tag (OCI distribution-spec, "Referrers Tag Schema")."""
        tag = fallback_tag(subject)
        index = await self._call(lambda: self._target.read_manifest(self._name, tag))
        entries = fallback_entries(index)
        if any(entry.get("digest") == referrer.digest for entry in entries):
            return
        content = render_fallback([*entries, referrer.as_json()])
        new = NewManifest(content=content, media_type=OCI_INDEX, digest=Digest.of(content))
        await self._call(lambda: self._target.put_manifest(self._name, new, [tag]))

    async def _delete_others(self, listed: frozenset[Tag]) -> None:
        async with closing(self._target.tags(self._name)) as tags:
            gone = [tag async for tag in tags if tag not in listed and self._rules.covers(tag)]
        for tag in gone:
            if not self._options.follows_deletions or not await self._is_gone(tag):
                self._tally.add(extra=1)
                continue
            try:
                if not self._options.is_dry:
                    await self._call(lambda: self._target.delete_tag(self._name, tag))  # noqa: B023 - awaited here
                self._tally.add(deleted=1)
            except RegistryError as error:
                self._tally.add_problem(Trouble.INCOMPLETE, self._name, tag, f"cannot be deleted: {_text(error)}")

    async def _is_gone(self, tag: Tag) -> bool:
        """Whether the source does not have a tag, although a list alone says nothing certain."""
        try:
            await self._call(lambda: self._source.resolve(self._origin, tag))
        except UpstreamAbsentError:
            return True
        return False


async def _bounded(referrers: AsyncIterator[Descriptor]) -> list[Descriptor]:
    found: list[Descriptor] = []
    async for referrer in referrers:
        found.append(referrer)
        if len(found) > _REFERRERS_MAX:
            raise ManifestInvalidError(f"the image has more than {_REFERRERS_MAX} referrers")
    return found


def _text(error: RegistryError) -> str:
    return f"{error}: {error.detail}" if error.detail else str(error)
