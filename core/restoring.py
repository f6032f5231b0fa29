"""Bringing manifests back with all that they refer to, from the trash and from what is still there."""

from collections.abc import Mapping, Sequence
from typing import Final

from core import layout
from core.concurrency import map_bounded
from core.descriptor import Descriptor
from core.digest import Digest
from core.errors import BlobUnknownError, DigestInvalidError, ManifestInvalidError, ManifestUnknownError
from core.links import Links
from core.manifest import Manifest, read_manifest
from core.media_types import NONDISTRIBUTABLE_LAYERS
from core.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.trash import Trash

_STORED_BYTES_MAX: Final = 16 * 1024 * 1024


class ImageRestorer:
    """Restores images; one per restoration, used by one task.

    Everything is written in the order of a push (data, layer links, children, manifest), and what is there already is
    left alone: a kill at any point leaves what the next restoration completes.

    Args:
        storage: the store.
        links: reads and writes its links.
        trash: where data may have gone.
        recorded: links that are known to have been removed, by their keys.
    """

    def __init__(self, storage: BlobStorage, links: Links, trash: Trash, recorded: Mapping[str, Digest]) -> None:
        self._storage = storage
        self._links = links
        self._trash = trash
        self._recorded = recorded
        self.manifests: dict[tuple[RepositoryName, Digest], None] = {}
        """What was restored, or found to be whole."""
        self.missing: set[Digest] = set()
        """Images of an index that are nowhere; it may have been pushed without them."""

    async def restore(self, name: RepositoryName, digest: Digest) -> None:
        """Have a manifest in a repository again, with its blobs, and the images of an index with theirs.

        Raises:
            ManifestUnknownError: the manifest is neither there nor in the trash.
            BlobUnknownError: something that it cannot be pulled without is not; nothing refers to what came back.
        """
        images = await self._images(name, digest)
        for manifest in images.values():
            await self._restore_blobs(name, manifest.blobs() if manifest else ())
        # An index is written after its images: those come later in the order of reading.
        for image, manifest in reversed(images.items()):
            if manifest is not None and manifest.subject is not None:
                await self._restore_link(layout.referrer_link(name, manifest.subject.digest, image), image)
            await self._restore_link(layout.revision_link(name, image), image)
            self.manifests[name, image] = None

    async def restore_link(self, key: str, target: Digest) -> bool:
        """Write a link that was removed if its data is there or comes back, and return whether it does."""
        if not await self._trash.return_blob(target):
            return False
        await self._restore_link(key, target)
        return True

    async def _images(self, name: RepositoryName, digest: Digest) -> dict[Digest, Manifest | None]:
        """Return a manifest and those below it, the data of each brought back; None for what cannot be read."""
        images: dict[Digest, Manifest | None] = {}
        pending = [digest]
        while pending:
            current = pending.pop()
            if current in images or (name, current) in self.manifests:
                continue
            if not await self._trash.return_blob(current):
                if current == digest:
                    raise ManifestUnknownError(
                        "the manifest is gone from the trash", detail={"name": name, "digest": digest}
                    )
                self.missing.add(current)
                continue
            images[current] = manifest = await self._read(current)
            pending += [child.digest for child in manifest.manifests] if manifest else []
        return images

    async def _read(self, digest: Digest) -> Manifest | None:
        content = await self._storage.read(layout.blob_data(digest), limit=_STORED_BYTES_MAX)
        try:
            return read_manifest(content)
        except (ManifestInvalidError, DigestInvalidError):
            # Schema 1, or what some old client pushed: its link comes back, and its layers as far as recorded.
            return None

    async def _restore_blobs(self, name: RepositoryName, blobs: Sequence[Descriptor]) -> None:
        async def restore_blob(blob: Descriptor) -> bool:
            key = layout.layer_link(name, blob.digest)
            target = await self._links.read(key)
            if target is not None:
                return await self._trash.return_blob(target)
            return await self.restore_link(key, self._recorded.get(key, blob.digest))

        # Each once; layers that lie elsewhere need not be here.
        wanted = {blob.digest: blob for blob in blobs if not (blob.urls or blob.media_type in NONDISTRIBUTABLE_LAYERS)}
        returned = await map_bounded(restore_blob, wanted.values())
        lost = [digest for digest, is_there in zip(wanted, returned, strict=True) if not is_there]
        if lost:
            raise BlobUnknownError("blobs of the image are gone from the trash", detail=lost)

    async def _restore_link(self, key: str, target: Digest) -> None:
        if await self._links.read(key) is None:
            await self._links.write(key, target)
