"""Bringing manifests back with all that they refer to, from the trash and from what is still there."""

from collections.abc import Mapping, Sequence
from typing import Final

from core import layout
from core.collection.guard import CollectionGuard, Need
from core.concurrency import map_bounded
from core.descriptor import Descriptor
from core.digest import Digest
from core.errors import (
    BlobUnknownError,
    DigestInvalidError,
    ManifestInvalidError,
    ManifestUnknownError,
    ObjectNotFoundError,
)
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
    left alone: a kill at any point leaves what the next restoration completes. A repository gets back only what it had:
    a link that is neither there nor recorded is not written, however much of its content lies in the store. What came
    back is confirmed as a push is, so that a collection at work does not take it again.

    Args:
        storage: the store.
        links: reads and writes its links.
        trash: where data may have gone.
        recorded: the links that were removed, by their keys.
        guard: what keeps collection away from what was brought back.
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
        """What was restored, or found to be whole."""
        self.missing: set[Digest] = set()
        """Images of an index that are nowhere; it may have been pushed without them."""

    async def restore(self, name: RepositoryName, digest: Digest) -> None:
        """Have a manifest in a repository again, with its blobs, and the images of an index with theirs.

        Raises:
            ManifestUnknownError: the manifest is neither there nor in the trash.
            BlobUnknownError: something that it cannot be pulled without is not; nothing refers to what came back.
        """
        ticket = await self._guard.ticket()
        images = await self._images(name, digest)
        needs = [Need(layout.revision_link(name, image), image) for image in images]
        for manifest in images.values():
            blobs = manifest.blobs() if manifest else ()
            others = [blob for blob in blobs if not (blob.digest in images or (name, blob.digest) in self.manifests)]
            needs += await self._restore_blobs(name, others)
        # An index is written after its images: those come later in the order of reading.
        written = []
        for image, manifest in reversed(images.items()):
            if manifest is not None and manifest.subject is not None:
                await self._restore_link(layout.referrer_link(name, manifest.subject.digest, image), image)
            if await self._restore_link(key := layout.revision_link(name, image), image):
                written.append(key)
        # Written even where it is there already: a collection at work knows the old one and holds it for garbage.
        await self._links.write(layout.revision_link(name, digest), digest)
        if lost := await self._guard.confirm(ticket, needs):
            await self._storage.delete(written)
            raise _gone(lost)
        self.manifests |= dict.fromkeys((name, image) for image in images)

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
            return read_manifest(await self._storage.read(layout.blob_data(digest), limit=_STORED_BYTES_MAX))
        except ObjectNotFoundError:
            # A collection has taken it since.
            raise _unknown(name, digest) from None
        except (ManifestInvalidError, DigestInvalidError):
            # Schema 1, or what some old client pushed: its link comes back, and its layers as far as recorded.
            return None

    async def _restore_blobs(self, name: RepositoryName, blobs: Sequence[Descriptor]) -> list[Need]:
        """Have these blobs readable in the repository, and return what that relies on."""

        async def restore_blob(blob: Descriptor) -> Digest | None:
            key = layout.layer_link(name, blob.digest)
            target = await self._links.read(key) or self._recorded.get(key)
            return target if target is not None and await self.restore_link(key, target) else None

        # Each once; layers that lie elsewhere need not be here.
        wanted = {blob.digest: blob for blob in blobs if not (blob.urls or blob.media_type in NONDISTRIBUTABLE_LAYERS)}
        targets = dict(zip(wanted, await map_bounded(restore_blob, wanted.values()), strict=True))
        if lost := [digest for digest, target in targets.items() if target is None]:
            raise _gone(lost)
        # A link may hold another digest than its own (see `BlobService`); collection may mean either.
        pairs = [(digest, each) for digest, target in targets.items() for each in {digest, target} if each is not None]
        return [Need(layout.layer_link(name, digest), each) for digest, each in pairs]

    async def _restore_link(self, key: str, target: Digest) -> bool:
        if await self._links.read(key) is not None:
            return False
        await self._links.write(key, target)
        return True


def _unknown(name: RepositoryName, digest: Digest) -> ManifestUnknownError:
    return ManifestUnknownError("the manifest is gone from the trash", detail={"name": name, "digest": digest})


def _gone(digests: Sequence[Digest]) -> BlobUnknownError:
    return BlobUnknownError("blobs of the image are gone from the trash", detail=list(digests))
