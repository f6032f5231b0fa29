"""References of manifests: which content a repository must hold, and whether it does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from core.collection.guard import CollectionGuard, Expand, Need
from core.concurrency import map_bounded, slices
from core.errors import ManifestBlobUnknownError, ManifestInvalidError, StorageCorruptError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import Manifest, read_if_manifest
from core.model.media_types import NONDISTRIBUTABLE_LAYERS
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.registry.manifest_contents import ManifestContents
from core.store import layout
from core.store.damage import DamageWatch
from core.store.links import Links
from core.store.objects import find, reads_at_once

_MISSING_MAX: Final = 100
"""Maximum number of missing blobs and manifests listed in the error for a push."""
_CHECKED_AT_ONCE: Final = 500
"""After this many references the check ends, if `_MISSING_MAX` are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPolicy:
    """Rules for the content that a manifest may refer to, and for its tags."""

    requires_blobs: bool = True
    """Whether the repository must hold config and layers."""
    requires_child: Callable[[Descriptor], bool] = lambda _child: True
    """Whether the repository must hold this entry of an index."""
    allows_url: Callable[[str], bool] = lambda _url: False
    """Whether a layer may be stored elsewhere, at this URL."""
    is_immutable: Callable[[RepositoryName, Tag], bool] = lambda _name, _tag: False
    """Whether this tag is immutable, so that it keeps the first manifest it pointed at."""


@dataclass(frozen=True, slots=True)
class Needed:
    """Content that a manifest requires in its repository."""

    name: RepositoryName
    need: Need
    is_blob: bool = False
    may_be_manifest: bool = False
    """Whether a manifest of this digest is sufficient if the repository has no such blob."""

    def as_manifest(self) -> "Needed":
        """Return the requirement that the repository holds a manifest of this digest."""
        return Needed(self.name, Need(layout.revision_link(self.name, self.need.digest), self.need.digest))


class ManifestReferences:
    """Finds and checks the content that manifests refer to; one per process."""

    def __init__(
        self,
        storage: BlobStorage,
        links: Links,
        contents: ManifestContents,
        *,
        guard: CollectionGuard,
        policy: ManifestPolicy,
        damage: DamageWatch,
    ) -> None:
        self._storage = storage
        self._links = links
        self._contents = contents
        self._guard = guard
        self._policy = policy
        self._damage = damage

    def of(self, name: RepositoryName, manifest: Manifest) -> Sequence[Needed]:
        """Return the content that the repository must hold, without duplicates, in document order.

        Raises:
            ManifestInvalidError: a layer is stored at a URL that is not allowed.
        """
        others = {other.digest for other in manifest.others}
        optional = {other.digest for other in manifest.others if not self._policy.requires_child(other)}
        needed = [
            Needed(
                name,
                Need(layout.layer_link(name, blob.digest), blob.digest),
                is_blob=True,
                may_be_manifest=blob.digest in others,
            )
            for blob in manifest.blobs()
            if self._must_have(blob) and blob.digest not in optional
        ]
        children = [child for child in manifest.manifests if self._policy.requires_child(child)]
        needed += [Needed(name, Need(layout.revision_link(name, each.digest), each.digest)) for each in children]
        return list(dict.fromkeys(needed))

    async def require(self, references: Sequence[Needed]) -> Sequence[Needed]:
        """Return the references with their kind resolved: an entry of an index may be a blob or a manifest.

        Raises:
            ManifestBlobUnknownError: the repository does not have some of the content.
        """
        found, missing = await self.look_for(references)
        if missing:
            raise ManifestBlobUnknownError(missing)
        return found

    async def look_for(self, references: Sequence[Needed]) -> tuple[Sequence[Needed], Sequence[Digest]]:
        """Return the existing references, and the digests of the missing ones."""
        found: list[Needed] = []
        missing: list[Digest] = []
        for batch in slices(references, _CHECKED_AT_ONCE):
            verdicts = await map_bounded(self._find, batch, at_once=reads_at_once(self._storage, len(batch)))
            found += [each for each in verdicts if each is not None]
            missing += [needed.need.digest for needed, each in zip(batch, verdicts, strict=True) if each is None]
            if len(missing) >= _MISSING_MAX:
                break
        return found, missing[:_MISSING_MAX]

    def expander(self, name: RepositoryName) -> Expand:
        """Return a callback that returns the references of a manifest of this repository."""

        async def expand(need: Need) -> Sequence[Need]:
            is_manifest = need.link == layout.revision_link(name, need.digest)
            return await self.expand(name, need.digest) if is_manifest else ()

        return expand

    async def expand(self, name: RepositoryName, digest: Digest) -> Sequence[Need]:
        """Return the content that a stored manifest refers to; empty if the manifest is gone or unreadable."""
        if await self._links.read(layout.revision_link(name, digest)) is None:
            return ()
        try:
            content = await self._contents.read(digest)
            manifest = read_if_manifest(content) if content is not None else None
            references = self.of(name, manifest) if manifest else ()
            return [(await self._as_held(each)).need for each in references]
        except (ManifestInvalidError, StorageCorruptError):
            return ()

    async def _find(self, needed: Needed) -> Needed | None:
        if await self._is_there(needed):
            return needed
        if needed.may_be_manifest and await self._is_there(manifest := needed.as_manifest()):
            return manifest
        return None

    async def _as_held(self, needed: Needed) -> Needed:
        """Return a reference as a manifest if the repository links it as one, else unchanged."""
        if needed.may_be_manifest and await self._links.read((manifest := needed.as_manifest()).need.link) is not None:
            return manifest
        return needed

    async def _is_there(self, needed: Needed) -> bool:
        digest = needed.need.digest
        is_suspected = self._damage.is_suspected(digest)
        if needed.is_blob and not is_suspected and await self._guard.recall(needed.name, digest) is not None:
            return True
        target = await self._links.read(needed.need.link)
        return target is not None and await self._exists(target)

    def _must_have(self, blob: Descriptor) -> bool:
        if not self._policy.requires_blobs:
            return False
        for url in blob.urls:
            if not self._policy.allows_url(url):
                raise ManifestInvalidError("invalid URL on layer", detail={"digest": blob.digest})
        return not (blob.urls or blob.media_type in NONDISTRIBUTABLE_LAYERS)

    async def _exists(self, digest: Digest) -> bool:
        stat = await find(self._storage, layout.blob_data(digest))
        return stat is not None and not await self._damage.is_damaged(digest, stat)
