"""Manifests and the tags that point at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.collection.guard import Need
from core.errors import (
    ContentDamagedError,
    DeniedError,
    DigestMismatchError,
    ManifestBlobUnknownError,
    ManifestTooLargeError,
    StorageCorruptError,
)
from core.model.digest import CANONICAL, Digest
from core.model.manifest import (
    PUSHED_MANIFEST_BYTES_MAX,
    Manifest,
    StoredManifest,
    parse_manifest,
    read_if_manifest,
)
from core.model.media_types import SCHEMA1
from core.model.names import Reference, RepositoryName, Tag
from core.registry.manifest_contents import ManifestContents
from core.registry.manifest_reading import ManifestReader, interpret, unknown
from core.registry.manifest_references import ManifestReferences, Needed
from core.registry.parts import ManifestParts
from core.store import layout
from core.store.legacy import LegacyManifests
from core.store.links import RemovedLink, link_object
from core.trash.entry import TrashKind

_DELETES_OUTLIVED: Final = 5
"""Maximum number of attempts of a push to write its tag while concurrent deletes remove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedManifest:
    """The result of a push."""

    digest: Digest
    media_type: str
    subject: Digest | None
    tags: Sequence[Tag]
    moved: Sequence[Tag] = ()
    """The tags that were not known to point at the manifest before."""


class ManifestService:
    """Stores, serves and deletes manifests; one per process."""

    def __init__(self, parts: ManifestParts) -> None:
        storage, links, guard, damage = parts.storage, parts.links, parts.guard, parts.damage
        self._storage = storage
        self._links = links
        self._tags = parts.tag_links
        self._guard = guard
        self._legacy = LegacyManifests(storage, links)
        self._memory = parts.memory
        self._policy = parts.policy
        self._trash = parts.trash
        self._damage = damage
        self._immutable_images = parts.immutable_images
        self._contents = ManifestContents(storage, damage=damage, offload=parts.offload)
        self._references = ManifestReferences(
            storage, links, self._contents, guard=guard, policy=parts.policy, damage=damage
        )
        self._reader = ManifestReader(parts, self._contents, self._references)

    async def resolve(self, name: RepositoryName, reference: Reference) -> Digest:
        """Return the digest that a tag points at; a digest is returned unchanged.

        Raises:
            ManifestUnknownError: the tag does not exist.
        """
        return await self._reader.resolve(name, reference)

    async def tag_target(self, name: RepositoryName, tag: Tag) -> Digest | None:
        """Return the digest that a tag points at in the store; None if there is no such tag. One request."""
        return await self._tags.resolve(name, tag)

    async def get(self, name: RepositoryName, reference: Reference) -> StoredManifest:
        """Return a manifest with its exact bytes (see `ManifestReader.get`)."""
        return await self._reader.get(name, reference)

    async def describe(self, name: RepositoryName, reference: Reference) -> StoredManifest:
        """Return a manifest for a `HEAD` request, with which clients check whether they must push the image.

        Like `get`, except for damaged blobs.

        Raises:
            ContentDamagedError: a blob of the manifest is certainly damaged, and only a push of the image repairs it.
        """
        manifest = await self.get(name, reference)
        if self._damage.has_suspects and manifest.media_type not in SCHEMA1:
            _, blobs = await self._contents.process(manifest.content, interpret, manifest.content)
            for blob in blobs:
                if self._damage.is_confirmed(blob.digest):
                    raise ContentDamagedError(blob.digest)
        return manifest

    async def put(
        self,
        name: RepositoryName,
        content: bytes,
        content_type: str,
        *,
        digest: Digest | None = None,
        tags: Sequence[Tag] = (),
    ) -> PushedManifest:
        """Check a manifest, store it, then point the tags at it.

        The order of writes is data, referrer, revision, tags; each write is atomic. So a tag is never listed before it
        can be pulled, even if the process is killed. Costs six storage requests with one tag, three if the tag is
        already there, plus those of the checks.

        Args:
            name: the repository.
            content: the exact bytes.
            content_type: the request's `Content-Type`.
            digest: the expected digest; None for a push by tag.
            tags: the tags that are to point at the manifest.

        Raises:
            ManifestInvalidError: see `core.manifest.parse_manifest`.
            DigestMismatchError: the bytes do not match `digest`.
            ManifestBlobUnknownError: the manifest refers to content that the repository does not have.
            DeniedError: an immutable tag points at another manifest.
        """
        if len(content) > PUSHED_MANIFEST_BYTES_MAX:
            raise ManifestTooLargeError(PUSHED_MANIFEST_BYTES_MAX)
        algorithm = digest.algorithm if digest else CANONICAL
        manifest, actual = await self._contents.process(content, _parse, content, content_type, algorithm)
        if digest is not None and actual != digest:
            raise DigestMismatchError(
                "manifest does not match its digest", detail={"expected": digest, "actual": actual}
            )
        references = self._references.of(name, manifest)
        ticket = await self._guard.ticket()
        references = await self._references.require(references)
        await self._require_movable(name, tags, actual)
        await self._store(name, actual, manifest)
        await self._confirm(name, actual, references, ticket)
        moved = await self._tags_to_move(name, tags, actual)
        for tag in moved:
            await self._point(name, tag, actual, manifest, references)
        self._damage.claim(manifest.blobs())
        self._memory.put(StoredManifest(content=content, media_type=manifest.media_type, digest=actual))
        subject = manifest.subject.digest if manifest.subject else None
        return PushedManifest(digest=actual, media_type=manifest.media_type, subject=subject, tags=tags, moved=moved)

    async def delete(self, name: RepositoryName, reference: Reference, *, by: str = "") -> Mapping[Tag, Digest | None]:
        """Delete a single tag, or a manifest by digest with all tags that point at it; never a layer.

        The removal is first recorded in the trash, which costs one more storage request.

        Args:
            name: the repository.
            reference: a tag or a digest.
            by: the requesting user, for the record.

        Returns:
            The deleted tags with the manifests that they pointed at; None if that is not known.

        Raises:
            ManifestUnknownError: the repository does not have the tag or manifest.
            DeniedError: the tag is immutable, or the image of an immutable tag contains the manifest.
        """
        if isinstance(reference, Digest):
            return await self._delete_revision(name, reference, by)
        current = await self._tags.resolve(name, reference)
        # A tag with a torn link cannot be pulled but is listed; deleting it removes it from the list.
        leftovers = await self._tags.leftovers(name, reference) if current is None else None
        if current is None and leftovers is None:
            raise unknown(name, reference)
        if self._policy.is_immutable(name, reference):
            raise _kept(reference, current)
        removed = [RemovedLink(layout.tag_current_link(name, reference), current)] if current else leftovers or ()
        entry = self._trash.new_entry(TrashKind.TAG, repository=name, by=by)
        await self._trash.record(entry, links=removed, trees=[layout.tag(name, reference)])
        return {reference: current}

    async def delete_tags(
        self, name: RepositoryName, tags: Mapping[Tag, Digest], *, by: str = "", reason: str = ""
    ) -> str | None:
        """Delete several tags, recorded in one trash entry. Idempotent. Two requests, and one per 1,000 tags.

        Args:
            name: the repository.
            tags: the tags, with the digests that they are known to point at.
            by: the requesting user, for the record.
            reason: the reason, for the record.

        Returns:
            The name of the trash entry; None if nothing was recorded.

        Raises:
            DeniedError: one of the tags is immutable; no tag is deleted.
        """
        for tag, digest in tags.items():
            if self._policy.is_immutable(name, tag):
                raise _kept(tag, digest)
        entry = self._trash.new_entry(TrashKind.TAG, repository=name, by=by, reason=reason)
        links = [RemovedLink(layout.tag_current_link(name, tag), digest) for tag, digest in tags.items()]
        recorded = await self._trash.record(entry, links=links, trees=[layout.tag(name, tag) for tag in tags])
        return entry.id if recorded else None

    async def _tags_to_move(self, name: RepositoryName, tags: Sequence[Tag], digest: Digest) -> Sequence[Tag]:
        # A manifest that this process recently served or stored is often pushed again unchanged by CI. Then one read
        # saves four requests. For a new manifest the read would be useless.
        if self._memory.get(digest) is None:
            return tags
        return [tag for tag in tags if await self._tags.resolve(name, tag) != digest]

    async def _point(
        self, name: RepositoryName, tag: Tag, digest: Digest, manifest: Manifest, references: Sequence[Needed]
    ) -> None:
        for _ in range(_DELETES_OUTLIVED):
            if self._policy.is_immutable(name, tag):
                current = await self._tags.keep(name, tag, digest)
                if current != digest:
                    raise _kept(tag, current)
            else:
                await self._tags.point(name, tag, digest)
            # A delete may have come in between. It may have removed the tag, so that only history was written, or the
            # manifest by digest. A delete by digest looks for tags before and after it removes the revision. If it
            # missed this tag, this push is the later operation and must stand.
            is_tagged = await self._tags.resolve(name, tag) is not None
            if is_tagged and await self._links.read(layout.revision_link(name, digest)) is not None:
                return
            ticket = await self._guard.ticket()
            await self._store(name, digest, manifest)
            try:
                await self._confirm(name, digest, references, ticket)
            except ManifestBlobUnknownError:
                # The delete also removed images of the index; the index must not stay without them.
                await self._tags.remove(name, [tag])
                await self._links.delete(layout.revision_link(name, digest))
                raise

    async def _delete_revision(self, name: RepositoryName, digest: Digest, by: str) -> Mapping[Tag, Digest | None]:
        link = layout.revision_link(name, digest)
        if await self._links.read(link) is None:
            if await self._legacy.find_among_layers(name, digest) is None:
                raise unknown(name, digest)
            link = layout.layer_link(name, digest)
        links = [link]
        if (subject := await self._subject(digest)) is not None:
            links.append(layout.referrer_link(name, subject, digest))
        await self._immutable_images.require_unneeded(name, digest)
        entry = self._trash.new_entry(TrashKind.MANIFEST, repository=name, by=by)
        tags = await self._deletable_tags(name, digest)
        part = await self._trash.record(
            entry,
            links=[RemovedLink(key, digest) for key in (*links, *(layout.tag_current_link(name, tag) for tag in tags))],
            # Tags go first: a tag without its manifest would be listed but could not be pulled.
            trees=[layout.tag(name, tag) for tag in tags],
            keys=[link],
        )
        # Check again: a push may have pointed a tag at the manifest in between.
        try:
            late = await self._deletable_tags(name, digest)
            await self._immutable_images.require_unneeded(name, digest)
        except DeniedError:
            # An immutable tag was pushed in between and requires the manifest, so the manifest stays.
            await self._links.write(link, digest)
            raise
        if late:
            late_links = [RemovedLink(layout.tag_current_link(name, tag), digest) for tag in late]
            trees = [layout.tag(name, tag) for tag in late]
            await self._trash.record(entry, links=late_links, first_part=part, trees=trees)
        await self._storage.delete(links[1:])
        return dict.fromkeys([*tags, *late], digest)

    async def _deletable_tags(self, name: RepositoryName, digest: Digest) -> list[Tag]:
        tags = await self._tags.pointing_at(name, digest)
        for tag in tags:
            if self._policy.is_immutable(name, tag):
                raise _kept(tag, digest)
        return tags

    async def _require_movable(self, name: RepositoryName, tags: Sequence[Tag], digest: Digest) -> None:
        # Checked before anything is stored, so that a refused push leaves nothing behind; `_point` decides.
        for tag in tags:
            if self._policy.is_immutable(name, tag):
                current = await self._tags.resolve(name, tag)
                if current not in {None, digest}:
                    raise _kept(tag, current)

    async def _subject(self, digest: Digest) -> Digest | None:
        # An unreadable manifest must still be deletable. Its subject is then unknown, and the list of referrers omits
        # entries whose manifest is gone.
        try:
            content = await self._contents.read(digest)
        except StorageCorruptError:
            return None
        manifest = read_if_manifest(content) if content is not None else None
        return manifest.subject.digest if manifest and manifest.subject else None

    async def _store(self, name: RepositoryName, digest: Digest, manifest: Manifest) -> None:
        # Existing objects are overwritten too: this repairs damaged data and marks the content as in use.
        links = [layout.revision_link(name, digest)]
        if manifest.subject is not None:
            links.insert(0, layout.referrer_link(name, manifest.subject.digest, digest))
        data = (layout.blob_data(digest), manifest.content)
        await self._storage.write_all([data, *(link_object(link, digest) for link in links)])
        await self._damage.prove(digest, len(manifest.content))

    async def _confirm(self, name: RepositoryName, digest: Digest, references: Sequence[Needed], ticket: float) -> None:
        """Ensure that garbage collection keeps a stored manifest and all content that it requires."""
        own = Need(layout.revision_link(name, digest), digest)
        needs = [own, *(needed.need for needed in references)]
        missing = await self._guard.confirm(ticket, needs, expand=self._references.expander(name))
        # Images may also be deleted, alone or with their repository, while their index is pushed. A deletion of a
        # repository looks for indexes afterwards, so one of the two operations sees the other.
        if not missing:
            _, missing = await self._references.look_for([needed for needed in references if not needed.is_blob])
        if not missing:
            return
        # If a tag points at the manifest, it existed before this push; its tag must not lose it.
        if not await self._tags.pointing_at(name, digest):
            await self._links.delete(own.link)
        raise ManifestBlobUnknownError(missing)


def _parse(content: bytes, content_type: str, algorithm: str) -> tuple[Manifest, Digest]:
    return parse_manifest(content, content_type), Digest.of(content, algorithm)


def _kept(tag: Tag, current: Digest | None) -> DeniedError:
    return DeniedError("the tag is immutable and cannot be moved or deleted", detail={"tag": tag, "digest": current})
