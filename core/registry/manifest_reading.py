"""Reads of manifests for clients, with as few requests and round trips to the store as possible."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from core.concurrency import side_by_side
from core.errors import DigestInvalidError, ManifestInvalidError, ManifestUnknownError, StorageCorruptError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import StoredManifest, read_if_manifest, stored_media_type
from core.model.media_types import DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED
from core.model.names import Reference, RepositoryName, Tag
from core.model.schema1 import is_schema1
from core.registry.manifest_contents import ManifestContents
from core.registry.manifest_references import ManifestReferences
from core.registry.parts import ManifestParts
from core.registry.shared_reads import SharedReads
from core.store import layout
from core.store.legacy import LegacyManifests

TARGETS_MAX: Final = 4_096


class ManifestReader:
    """Reads manifests; one per process."""

    def __init__(self, parts: ManifestParts, contents: ManifestContents, references: ManifestReferences) -> None:
        self._links = parts.links
        self._tags = parts.tag_links
        self._guard = parts.guard
        self._memory = parts.memory
        self._damage = parts.damage
        self._asks_ahead = parts.asks_ahead
        self._legacy = LegacyManifests(parts.storage, parts.links)
        self._contents = contents
        self._references = references
        self._reads = SharedReads(self._get)
        self._targets: OrderedDict[tuple[RepositoryName, Tag], Digest] = OrderedDict()
        """The last known targets of tags, the most recently pulled last; each is checked before it is used."""

    async def resolve(self, name: RepositoryName, reference: Reference) -> Digest:
        """Return the digest that a tag points at; a digest is returned unchanged.

        Raises:
            ManifestUnknownError: the tag does not exist.
        """
        if isinstance(reference, Digest):
            return reference
        digest = await self._tags.resolve(name, reference)
        if digest is None:
            raise unknown(name, reference)
        return digest

    async def get(self, name: RepositoryName, reference: Reference) -> StoredManifest:
        """Return a manifest with its exact bytes. Two storage requests by digest, three by tag.

        A cached manifest costs one request less: the cache saves reading the content, but access is checked each time.
        If stores answer over a network, the link of a tag and that of the revision that the tag pointed at last are
        read at once, in one round trip; one request more if the tag was moved.
        Callers that ask for the same manifest at the same time share the requests (see `SharedReads`).

        Raises:
            ManifestUnknownError: the repository does not hold the manifest, or its data is gone.
            StorageCorruptError: the data is not the pushed content. Pushing it again repairs it.
        """
        return await self._reads.get((name, reference))

    async def _get(self, wanted: tuple[RepositoryName, Reference]) -> StoredManifest:
        name, reference = wanted
        if isinstance(reference, Digest):
            return await self._read(name, reference, reference)
        # One request at a time asks for a tag, so no other one looks for the entry while it is taken out.
        target = self._targets.pop((name, reference), None)
        known = self._memory.get(target) if target is not None else None
        if target is None or known is None or await self._guard.rely_on(target, name):
            digest = await self.resolve(name, reference)
        else:
            revision = self._links.stands(layout.revision_link(name, target), target)
            digest, is_held = await side_by_side(self.resolve(name, reference), revision)
            if digest == target and is_held:
                self._targets[name, reference] = target
                return known
        # Also if the link of the revision was not there: a push may have written both links after it was looked for.
        manifest = await self._read(name, reference, digest)
        if self._asks_ahead:
            self._targets[name, reference] = digest
            if len(self._targets) > TARGETS_MAX:
                self._targets.popitem(last=False)
        return manifest

    async def _read(self, name: RepositoryName, reference: Reference, digest: Digest) -> StoredManifest:
        if await self._guard.rely_on(digest, name):
            await self._guard.rescue(await self._references.expand(name, digest), self._references.expander(name))
        if await self._links.stands(layout.revision_link(name, digest), digest):
            if (known := self._memory.get(digest)) is not None:
                return known
            content = await self._contents.read(digest)
        else:
            content = await self._legacy.find_among_layers(name, digest)
        if content is None:
            raise unknown(name, reference)
        try:
            media_type, blobs = await self._contents.process(content, interpret, content)
        except (ManifestInvalidError, DigestInvalidError) as error:
            if is_schema1(content):
                return await self._schema1(name, digest, content)
            raise StorageCorruptError(f"{digest} in {name} is not a valid manifest and cannot be served") from error
        self._damage.claim(blobs)
        manifest = StoredManifest(content=content, media_type=media_type, digest=digest)
        self._memory.put(manifest)
        return manifest

    async def _schema1(self, name: RepositoryName, digest: Digest, payload: bytes) -> StoredManifest:
        signed = await self._legacy.sign(name, digest, payload)
        if signed is None:
            return StoredManifest(content=payload, media_type=DOCKER_SCHEMA1, digest=digest)
        return StoredManifest(content=signed, media_type=DOCKER_SCHEMA1_SIGNED, digest=digest)


def interpret(content: bytes) -> tuple[str, Sequence[Descriptor]]:
    """Return the media type under which a stored manifest is served, and the blobs that it refers to, if readable."""
    manifest = read_if_manifest(content)
    return (manifest.media_type, manifest.blobs()) if manifest else (stored_media_type(content), ())


def unknown(name: RepositoryName, reference: Reference) -> ManifestUnknownError:
    """Return the error for a manifest or tag that the repository does not have."""
    return ManifestUnknownError("manifest unknown", detail={"name": name, "reference": reference})
