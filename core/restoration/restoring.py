"""Restoration of manifests with all content that they refer to, from the trash and from existing data."""

from collections.abc import Mapping, Sequence

from core.collection.guard import CollectionGuard, Need
from core.concurrency import map_bounded
from core.errors import BlobUnknownError, ManifestUnknownError, ObjectNotFoundError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import STORED_MANIFEST_BYTES_MAX, Manifest, read_if_manifest
from core.model.media_types import NONDISTRIBUTABLE_LAYERS
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.links import Links
from core.trash.store import Trash


class ImageRestorer:
    """Restores images. One per restoration; used by one task.

    Objects are written in the order of a push (data, layer links, children, manifest), and existing objects are left
    alone. After a kill at any point, the next restoration completes the work. A repository only gets back its own
    content: a link that neither exists nor is recorded is not written, even if its content is in the store. Restored
    content is confirmed like a push, so that a running collection does not remove it again.

    Args:
        storage: the store.
        links: the links of the store.
        trash: the trash of the store.
        recorded: the removed links, by key.
        guard: protects the restored content from collection.
    """

    def __init__(
        self,
        storage: BlobStorage,
        links: Links,
        trash: Trash,
        recorded: Mapping[str, Digest],
        *,
        guard: CollectionGuard,
    ) -> None:
        self._storage = storage
        self._links = links
        self._trash = trash
        self._recorded = recorded
        self._guard = guard
        self.manifests: dict[tuple[RepositoryName, Digest], None] = {}
        """Manifests that were restored, or found complete."""
        self.missing: set[Digest] = set()
        """Images of an index that no longer exist anywhere; the index may have been pushed without them."""

    async def restore(self, name: RepositoryName, digest: Digest) -> None:
        """Restore a manifest of a repository with its blobs, and for an index its images with their blobs.

        Raises:
            ManifestUnknownError: the manifest exists neither in the store nor in the trash.
            BlobUnknownError: content that the manifest requires no longer exists; nothing refers to the restored
                content.
        """
        ticket = await self._guard.ticket()
        images = await self._images(name, digest)
        needs = [Need(layout.revision_link(name, image), image) for image in images]
        for manifest in images.values():
            blobs = manifest.blobs() if manifest else ()
            others = [blob for blob in blobs if not (blob.digest in images or (name, blob.digest) in self.manifests)]
            needs += await self._restore_blobs(name, others)
        # Images come later in reading order, and an index is written after its images.
        written = []
        for image, manifest in reversed(images.items()):
            if manifest is not None and manifest.subject is not None:
                await self._restore_link(layout.referrer_link(name, manifest.subject.digest, image), image)
            if await self._restore_link(key := layout.revision_link(name, image), image):
                written.append(key)
        # Written even if it exists: a running collection may have listed the old link as garbage.
        await self._links.write(layout.revision_link(name, digest), digest)
        if lost := await self._guard.confirm(ticket, needs):
            await self._storage.delete(written)
            raise _gone(lost)
        self.manifests |= dict.fromkeys((name, image) for image in images)

    async def restore_link(self, key: str, target: Digest) -> bool:
        """Write a removed link if its data exists or can be restored; return whether the data is available."""
        if not await self._trash.return_blob(target):
            return False
        await self._restore_link(key, target)
        return True

    async def _images(self, name: RepositoryName, digest: Digest) -> dict[Digest, Manifest | None]:
        """Return a manifest and its descendants, with their data restored; None for unreadable manifests."""
        images: dict[Digest, Manifest | None] = {}
        pending = [digest]
        while pending:
            current = pending.pop()
            if current in images or (name, current) in self.manifests:
                continue
            is_root = current == digest
            if not (is_root or await self._was_held(name, current)) or not await self._trash.return_blob(current):
                if is_root:
                    raise _unknown(name, digest)
                self.missing.add(current)
                continue
            images[current] = manifest = await self._read(name, current)
            if manifest is not None:
                pending += [child.digest for child in manifest.manifests]
                pending += [each.digest for each in manifest.others if await self._was_held(name, each.digest)]
        return images

    async def _was_held(self, name: RepositoryName, digest: Digest) -> bool:
        key = layout.revision_link(name, digest)
        return key in self._recorded or await self._links.read(key) is not None

    async def _read(self, name: RepositoryName, digest: Digest) -> Manifest | None:
        try:
            content = await self._storage.read(layout.blob_data(digest), limit=STORED_MANIFEST_BYTES_MAX)
        except ObjectNotFoundError:
            # A collection has removed it in the meantime.
            raise _unknown(name, digest) from None
        # None for schema 1, or an old client's manifest: its link is restored, and its layers as far as recorded.
        return read_if_manifest(content)

    async def _restore_blobs(self, name: RepositoryName, blobs: Sequence[Descriptor]) -> list[Need]:
        """Make the blobs readable in the repository; return the links and data that this relies on."""

        async def restore_blob(blob: Descriptor) -> Digest | None:
            key = layout.layer_link(name, blob.digest)
            target = await self._links.read(key) or self._recorded.get(key)
            return target if target is not None and await self.restore_link(key, target) else None

        # Each blob once; layers stored elsewhere need not be here.
        wanted = {blob.digest: blob for blob in blobs if not (blob.urls or blob.media_type in NONDISTRIBUTABLE_LAYERS)}
        targets = dict(zip(wanted, await map_bounded(restore_blob, wanted.values()), strict=True))
        if lost := [digest for digest, target in targets.items() if target is None]:
            raise _gone(lost)
        # A link may hold a digest other than its own (see `BlobService`); collection may remove either.
        pairs = [(digest, each) for digest, target in targets.items() for each in {digest, target} if each is not None]
        return [Need(layout.layer_link(name, digest), each) for digest, each in pairs]

    async def _restore_link(self, key: str, target: Digest) -> bool:
        if await self._links.read(key) is not None:
            return False
        await self._links.write(key, target)
        return True


def _unknown(name: RepositoryName, digest: Digest) -> ManifestUnknownError:
    return ManifestUnknownError("the manifest is no longer in the trash", detail={"name": name, "digest": digest})


def _gone(digests: Sequence[Digest]) -> BlobUnknownError:
    return BlobUnknownError("blobs of the image are no longer in the trash", detail=list(digests))
