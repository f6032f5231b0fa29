"""Check of a repository's manifests: each exists and can be parsed, and everything it refers to exists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.concurrency import map_bounded
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import Manifest, is_served
from core.model.media_types import MANIFESTS, OCTET_STREAM
from core.model.schema1 import schema1_layers
from core.store import layout
from core.store.stored_manifests import ManifestProblem, ManifestState
from core.verification.context import Context, RepositoryView, referrer_pair
from core.verification.findings import Kind, Suspect
from core.verification.image_suspects import ImageSuspects
from core.verification.links import BATCH, digest_of_link
from core.verification.suspects import suspect_data, suspect_leftover, suspect_link

_AT_ONCE: Final = 16
_NOT_OF_A_CACHE: Final = frozenset(
    {Kind.BLOB_LOST, Kind.BLOB_UNLINKED, Kind.CHILD_MISSING, Kind.WRONG_SIZE, Kind.WRONG_MEDIA_TYPE}
)
"""Problems of references that are none in a cached repository: its content comes on demand, from authors elsewhere."""
_MEDIA_TYPES: Final = (None, *sorted(MANIFESTS))
"""The media type for each number in `RepositoryView.revisions`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A defect of a manifest. It also affects the indexes that contain the manifest."""

    kind: Kind
    manifest: Digest
    named: Descriptor | None = None
    """The reference that is defective, if the defect is not in the manifest itself."""


class ManifestCheck:
    """Checks every manifest of a repository, and everything each manifest refers to."""

    def __init__(self, context: Context, view: RepositoryView) -> None:
        self._context = context
        self._view = view
        self._problems: list[Problem] = []
        self._damaged_blobs: set[Digest] = set()
        self._is_cached = context.rules.is_cached(view.name)

    async def find(self) -> list[Suspect]:
        """Record the manifests of the repository in the view; return suspects about other objects. Two listings."""
        suspects = []
        prefix = layout.revisions(self._view.name)
        async for key, _ in self._context.reader.walk(prefix):
            if layout.is_signature(key):
                continue
            digest = digest_of_link(key)
            if digest is None or key != layout.revision_link(self._view.name, digest):
                suspects.append(suspect_leftover(self._context, key))
            else:
                self._view.revisions.put(digest)
        async for key, stat in self._context.reader.walk(layout.incomplete(self._view.name)):
            digest = digest_of_link(key)
            if digest is None or key != layout.incomplete_link(self._view.name, digest):
                suspects.append(suspect_leftover(self._context, key))
            else:
                self._view.set_aside[digest] = stat
        return suspects

    async def run(self) -> list[Suspect]:
        """Read every manifest and check its references.

        Costs two requests per manifest, and more for references whose size or media type is not known yet.
        """
        suspects: list[Suspect] = []
        batch: list[Digest] = []
        async for key, _ in self._context.reader.walk(layout.revisions(self._view.name)):
            digest = None if layout.is_signature(key) else digest_of_link(key)
            if digest is not None:
                batch.append(digest)
            if len(batch) == BATCH:
                suspects += await self._check_all(batch)
                batch = []
        suspects += await self._check_all(batch)
        suspects += await self._check_all(sorted(self._view.set_aside))
        # Confirm damaged data first: its repair decides which images are still incomplete.
        suspects += [suspect_data(self._context, digest) for digest in sorted(self._damaged_blobs)]
        images = ImageSuspects(self._context, self._view, await self._lost_through_indexes())
        troubled = {problem.manifest for problem in self._problems}
        suspects += [images.suspect_whole(digest) for digest in sorted(self._view.set_aside.keys() - troubled)]
        return suspects + [images.suspect(each.kind, each.manifest, each.named) for each in self._problems]

    async def _check_all(self, batch: Sequence[Digest]) -> list[Suspect]:
        found = await map_bounded(self._check, batch, at_once=_AT_ONCE)
        return [suspect for suspects in found for suspect in suspects]

    async def _check(self, digest: Digest) -> list[Suspect]:
        self._view.manifests += 1
        link = layout.revision_link(self._view.name, digest)
        state = await self._context.reader.link(link)
        suspects = []
        if state.is_there and state.target != digest:
            suspects.append(suspect_link(self._context, link, digest))
        found = await self._context.reader.manifest(digest)
        if found.is_absent or digest in self._context.damaged:
            self._problems.append(Problem(Kind.MANIFEST_LOST, digest))
        elif found.problem is ManifestProblem.CORRUPT:
            # The data phase did not read this manifest (`fast`), or it was damaged since.
            suspects.append(suspect_data(self._context, digest))
            self._problems.append(Problem(Kind.MANIFEST_LOST, digest))
        else:
            await self._check_content(found)
        return suspects

    async def _check_content(self, found: ManifestState) -> None:
        digest, manifest = found.digest, found.manifest
        if manifest is not None:
            if manifest.is_index:
                self._view.indexes.append(digest)
            await self._check_references(digest, manifest)
        elif found.problem is ManifestProblem.SCHEMA1:
            await self._check_schema1(digest, found.content)
        elif not is_served(found.content):
            self._problems.append(Problem(Kind.MANIFEST_UNREADABLE, digest))

    async def _check_schema1(self, digest: Digest, content: bytes) -> None:
        for layer in dict.fromkeys(schema1_layers(content)):
            # Schema 1 states no sizes, so the size in storage is correct.
            size = await self._context.blob_size(layer)
            blob = Descriptor(media_type=OCTET_STREAM, digest=layer, size=size or 0)
            if self._context.rules.must_have(blob) and (kind := await self._blob_problem(blob)):
                self._note_reference(kind, digest, blob)

    async def _check_references(self, digest: Digest, manifest: Manifest) -> None:
        await self._check_blobs(digest, manifest)
        for child in manifest.manifests:
            if self._context.rules.requires_child(child) and (kind := await self._child_problem(child)):
                self._note_reference(kind, digest, child)
        if manifest.subject is not None:
            pair = referrer_pair(manifest.subject.digest, digest)
            self._view.true_referrers.put(pair)
            if pair not in self._view.listed_referrers:
                self._problems.append(Problem(Kind.REFERRER_UNLISTED, digest, manifest.subject))

    async def _check_blobs(self, digest: Digest, manifest: Manifest) -> None:
        others = {other.digest for other in manifest.others}
        for blob in {blob.digest: blob for blob in manifest.blobs()}.values():
            find = self._other_problem if blob.digest in others else self._blob_problem
            if self._context.rules.must_have(blob) and (kind := await find(blob)):
                self._note_reference(kind, digest, blob)

    def _note_reference(self, kind: Kind, manifest: Digest, named: Descriptor) -> None:
        if not (self._is_cached and kind in _NOT_OF_A_CACHE):
            self._problems.append(Problem(kind, manifest, named))

    async def _blob_problem(self, blob: Descriptor) -> Kind | None:
        target = blob.digest
        linked = self._view.layers.get(blob.digest)
        if linked:
            # The link may be an alias: the data is stored under a digest of another algorithm.
            state = await self._context.reader.link(layout.layer_link(self._view.name, blob.digest))
            target = state.target or target
        size = await self._context.blob_size(target)
        if size is None or target in self._context.damaged:
            self._view.needed_lost.add(target)
            return Kind.BLOB_LOST
        if linked is None:
            return Kind.BLOB_UNLINKED
        if size == blob.size:
            return None
        data = await self._context.reader.data(layout.blob_data(target), target.algorithm)
        if data is None or data.digest == target:
            return Kind.WRONG_SIZE
        self._damaged_blobs.add(target)
        self._view.needed_lost.add(target)
        return Kind.BLOB_LOST

    async def _other_problem(self, other: Descriptor) -> Kind | None:
        if not self._context.rules.requires_child(other):
            return None
        is_manifest = self._view.holds(other.digest)
        return await self._child_problem(other) if is_manifest else await self._blob_problem(other)

    async def _child_problem(self, child: Descriptor) -> Kind | None:
        if not self._view.holds(child.digest):
            return Kind.CHILD_MISSING
        size = await self._context.blob_size(child.digest)
        if size is None:
            # The child has a finding of its own, which names the images above it.
            return None
        if size != child.size:
            return Kind.WRONG_SIZE
        media_type = await self._media_type(child.digest)
        return Kind.WRONG_MEDIA_TYPE if media_type not in {None, child.media_type} else None

    async def _media_type(self, digest: Digest) -> str | None:
        """Return the media type of a manifest, or None if unknown. Reads a manifest at most twice in all."""
        number = self._view.revisions.get(digest)
        if not number:
            number = self._note_media_type(await self._context.reader.manifest(digest))
        return _MEDIA_TYPES[number]

    def _note_media_type(self, found: ManifestState) -> int:
        media_type = found.manifest.media_type if found.manifest else None
        # All media types that cannot be pushed here share the number 0.
        number = _MEDIA_TYPES.index(media_type) if media_type in MANIFESTS else 0
        if found.digest in self._view.revisions:
            self._view.revisions.put(found.digest, number)
        return number

    async def _lost_through_indexes(self) -> dict[Digest, set[Digest]]:
        """Return the indexes above each manifest with a problem. Reads indexes again only if there is a problem."""
        above: dict[Digest, set[Digest]] = {problem.manifest: set() for problem in self._problems}
        has_grown = bool(above)
        while has_grown:
            has_grown = False
            for index in self._view.indexes:
                for child in await self.children(index):
                    reached = {index} | above.get(index, set())
                    if child in above and not reached <= above[child]:
                        above[child] |= reached
                        has_grown = True
        return above

    async def children(self, index: Digest) -> list[Digest]:
        """Return the entries of an index; none if the index cannot be read."""
        manifest = (await self._context.reader.manifest(index)).manifest
        return [child.digest for child in (*manifest.manifests, *manifest.others)] if manifest else []
