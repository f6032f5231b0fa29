"""Reads of manifests for clients, with as few requests and round trips to the store as possible."""

from collections.abc import Sequence

from core.concurrency import side_by_side
from core.errors import DigestInvalidError, ManifestInvalidError, ManifestUnknownError, StorageCorruptError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import StoredManifest, read_if_manifest, stored_media_type
from core.model.media_types import DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED
from core.model.names import Reference, RepositoryName
from core.model.schema1 import is_schema1
from core.registry.manifest_contents import ManifestContents
from core.registry.manifest_references import ManifestReferences
from core.registry.parts import ManifestParts
from core.registry.shared_reads import SharedReads
from core.registry.target_memory import Target
from core.store import layout
from core.store.legacy import LegacyManifests


class ManifestReader:
    """Reads manifests; one per process."""

    def __init__(self, parts: ManifestParts, contents: ManifestContents, references: ManifestReferences) -> None:
        self._links = parts.links
        self._tags = parts.tag_links
        self._guard = parts.guard
        self._memory = parts.memory
        self._damage = parts.damage
        self._targets = parts.targets
        self._legacy = LegacyManifests(parts.storage, parts.links)
        self._contents = contents
        self._references = references
        self._reads = SharedReads(self._get)

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
        If stores answer over a network, a pull of a known tag costs one request, for the link of the tag. Once in a
        while it costs two at the same time, for that link and the one of the revision that the tag pointed at last (see
        `TargetMemory`). A tag that was moved costs a request more.
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
        if self._targets is None:
            return await self._read(name, reference, await self.resolve(name, reference))
        began = self._targets.now()
        # One request at a time asks for a tag, so no other one looks for the entry while it is taken out.
        target = self._targets.take(name, reference)
        known = self._memory.get(target.digest) if target is not None else None
        if target is None or known is None or await self._guard.rely_on(target.digest, name):
            digest = await self.resolve(name, reference)
        elif self._targets.trusts(target):
            digest = await self.resolve(name, reference)
            if digest == target.digest:
                self._targets.put(name, reference, target)
                return known
        else:
            revision = self._links.stands(layout.revision_link(name, target.digest), target.digest)
            digest, is_held = await side_by_side(self.resolve(name, reference), revision)
            if digest == target.digest and is_held:
                self._targets.put(name, reference, Target(digest, began))
                return known
        # Also if the link of the revision was not there: a push may have written both links after it was looked for.
        manifest = await self._read(name, reference, digest)
        self._targets.put(name, reference, Target(digest, began))
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
