"""Export of images from a registry to an OCI image layout. All content is verified as it is read."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from core.content_source import Offload
from core.errors import (
    BlobUnknownError,
    DigestMismatchError,
    ImageLayoutError,
    ManifestUnknownError,
    ObjectNotFoundError,
    UnsupportedError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest, HasherFactory
from core.model.manifest import StoredManifest, read_manifest
from core.model.media_types import NONDISTRIBUTABLE_LAYERS, SCHEMA1
from core.model.names import Reference, RepositoryName, Tag
from core.ports.blob_storage import BlobReader
from core.ports.image_layout import ImageLayoutWriter
from core.registry.facade import Registry
from core.store.hashing import digest_of, feed
from core.transfer.layout_index import (
    IMAGE_NAME,
    INDEX_PATH,
    REF_NAME,
    REPOSITORY,
    VERSION_CONTENT,
    VERSION_PATH,
    LayoutImage,
    blob_path,
    read_images,
    render_index,
)

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """One repository, with the tag or digest to export, or None for all its tags."""

    name: RepositoryName
    reference: Reference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportProgress:
    """Progress of an export."""

    images: int = 0
    """Entries of the index, including referrers."""
    blobs: int = 0
    """Blobs and manifests that are in the layout."""
    bytes_done: int = 0
    bytes_expected: int = 0


@dataclass(slots=True, kw_only=True)
class _Plan:
    """The content to write; about 300 bytes for each blob."""

    images: list[LayoutImage] = field(default_factory=list)
    blobs: dict[Digest, tuple[RepositoryName, int]] = field(default_factory=dict)
    manifests: dict[Digest, RepositoryName] = field(default_factory=dict)


class ImageExport:
    """Writes one layout; used once.

    Args:
        registry: the registry that holds the images.
        layout: an open layout. Its entries are kept, unless a new entry replaces them.
        new_hasher: creates hashers, which `offload` feeds in threads.
        offload: starts a function in a thread.
        observe: called with each new state.
        with_referrers: whether to export referrers of the images too, for example signatures.
    """

    def __init__(
        self,
        registry: Registry,
        layout: ImageLayoutWriter,
        *,
        new_hasher: HasherFactory,
        offload: Offload,
        observe: Callable[[ExportProgress], None],
        with_referrers: bool = False,
    ) -> None:
        self._registry = registry
        self._layout = layout
        self._new_hasher = new_hasher
        self._offload = offload
        self._observe = observe
        self._with_referrers = with_referrers
        self._progress = ExportProgress()

    async def run(self, requests: Sequence[ExportRequest]) -> ExportProgress:
        """Write the images and everything they refer to: blobs first, the index last.

        Memory is bounded for blobs of any size. A blob that a layout folder already has is hashed, not written again.

        Raises:
            ManifestUnknownError: an image does not exist.
            BlobUnknownError: an image refers to a blob that its repository does not have.
            ContentDamagedError: a blob of the registry is damaged.
            DigestMismatchError: the bytes of a blob of the registry do not hash to its digest.
            UnsupportedError: an image is of schema 1, which a layout cannot hold.
            ImageLayoutError: the layout cannot be written.
        """
        plan = await self._plan(requests)
        images = _merge(await self._present_images(), plan.images)
        expected = sum(size for _, size in plan.blobs.values())
        self._update_progress(images=len(plan.images), bytes_expected=expected)
        await self._layout.add(VERSION_PATH, len(VERSION_CONTENT), _whole(VERSION_CONTENT))
        for digest, (name, size) in plan.blobs.items():
            await self._write_blob(name, digest, size)
        for digest, name in plan.manifests.items():
            manifest = await self._registry.manifests.get(name, digest)
            await self._layout.add(blob_path(digest), len(manifest.content), _whole(manifest.content))
            self._update_progress(blobs=self._progress.blobs + 1)
        index = render_index(images)
        await self._layout.add(INDEX_PATH, len(index), _whole(index))
        await self._layout.finish()
        return self._progress

    async def _plan(self, requests: Sequence[ExportRequest]) -> _Plan:
        plan = _Plan()
        is_one = len({request.name for request in requests}) == 1
        for request in requests:
            async for reference in self._references(request):
                manifest = await self._registry.manifests.get(request.name, reference)
                tag = reference if isinstance(reference, Tag) else None
                plan.images.append(_image(request.name, manifest, tag, is_one=is_one))
                await self._add_manifest(plan, request.name, manifest)
        return plan

    async def _references(self, request: ExportRequest) -> AsyncIterator[Reference]:
        if request.reference is not None:
            yield request.reference
            return
        last, has_more = "", True
        while has_more:
            # An upstream may have far more tags than its cache.
            page = await self._registry.tags.stored_page(request.name, n=_PAGE, last=last)
            for tag in page.items:
                yield tag
            last, has_more = (page.items[-1] if page.items else ""), page.has_more

    async def _add_manifest(self, plan: _Plan, name: RepositoryName, stored: StoredManifest) -> None:
        if stored.digest in plan.manifests:
            return
        if stored.media_type in SCHEMA1:
            raise UnsupportedError(
                f"{name}@{stored.digest} is a schema 1 manifest, which an OCI image layout cannot contain"
            )
        manifest = read_manifest(stored.content)
        for child in manifest.manifests:
            await self._add_child(plan, name, child.digest)
        others = {other.digest for other in manifest.others}
        for blob in manifest.blobs():
            if blob.digest not in plan.blobs:
                await self._add_blob(plan, name, blob, may_be_manifest=blob.digest in others)
        plan.manifests[stored.digest] = name
        if self._with_referrers:
            await self._add_referrers(plan, name, stored.digest)

    async def _add_child(self, plan: _Plan, name: RepositoryName, digest: Digest) -> None:
        try:
            child = await self._registry.manifests.get(name, digest)
        except ManifestUnknownError:
            # An index may list platforms that were never pushed or were deleted. The index is exported unchanged.
            return
        await self._add_manifest(plan, name, child)

    async def _add_blob(self, plan: _Plan, name: RepositoryName, blob: Descriptor, *, may_be_manifest: bool) -> None:
        try:
            plan.blobs[blob.digest] = (name, (await self._registry.blobs.stat(name, blob.digest)).size)
        except BlobUnknownError:
            if may_be_manifest:
                await self._add_child(plan, name, blob.digest)
            if not (blob.digest in plan.manifests or blob.urls or blob.media_type in NONDISTRIBUTABLE_LAYERS):
                raise

    async def _add_referrers(self, plan: _Plan, name: RepositoryName, subject: Digest) -> None:
        last, has_more = "", True
        while has_more:
            page = await self._registry.referrers.page(name, subject, last=last)
            for referrer in page.items:
                if referrer.digest in plan.manifests:
                    continue
                manifest = await self._registry.manifests.get(name, referrer.digest)
                plan.images.append(_image(name, manifest, None, is_one=True))
                await self._add_manifest(plan, name, manifest)
            last, has_more = (page.items[-1].digest if page.items else ""), page.has_more

    async def _present_images(self) -> list[LayoutImage]:
        try:
            await self._layout.read(VERSION_PATH, limit=len(VERSION_CONTENT) * 10)
        except ObjectNotFoundError:
            return []
        return await read_images(self._layout)

    async def _write_blob(self, name: RepositoryName, digest: Digest, size: int) -> None:
        if not await self._has(digest, size):
            async with self._registry.blobs.open(name, digest) as reader:
                await self._layout.add(blob_path(digest), size, self._verified(digest, reader))
        else:
            self._update_progress(bytes_done=self._progress.bytes_done + size)
        self._update_progress(blobs=self._progress.blobs + 1)

    async def _has(self, digest: Digest, size: int) -> bool:
        try:
            async with self._layout.open(blob_path(digest)) as reader:
                hasher = self._new_hasher(digest.algorithm, None)
                return reader.size == size and await digest_of(reader, hasher, self._offload) == digest
        except ObjectNotFoundError:
            return False

    async def _verified(self, digest: Digest, reader: BlobReader) -> AsyncIterator[bytes]:
        hasher = self._new_hasher(digest.algorithm, None)
        async for piece in reader:
            await feed(hasher, piece, self._offload)
            self._update_progress(bytes_done=self._progress.bytes_done + len(piece))
            yield piece
        if (actual := hasher.digest()) != digest:
            raise DigestMismatchError(
                f"the stored data of {digest} does not match the digest",
                detail={"expected": digest, "actual": actual},
            )

    def _update_progress(self, **changes: int) -> None:
        self._progress = replace(self._progress, **changes)
        self._observe(self._progress)


def _image(name: RepositoryName, manifest: StoredManifest, tag: Tag | None, *, is_one: bool) -> LayoutImage:
    annotations = {REPOSITORY: str(name)}
    if tag is not None:
        annotations[REF_NAME] = tag if is_one else f"{name}:{tag}"
        annotations[IMAGE_NAME] = f"{name}:{tag}"
    described = read_manifest(manifest.content) if manifest.media_type not in SCHEMA1 else None
    return LayoutImage(
        descriptor=Descriptor(
            media_type=manifest.media_type,
            digest=manifest.digest,
            size=len(manifest.content),
            artifact_type=described.artifact_type if described else None,
            annotations=annotations,
        )
    )


def _merge(present: Sequence[LayoutImage], new: Sequence[LayoutImage]) -> list[LayoutImage]:
    """Return the entries of both. A new entry replaces one with the same name or, if unnamed, the same digest."""

    def identity(image: LayoutImage) -> tuple[str, str]:
        annotations = image.descriptor.annotations
        name = annotations.get(REF_NAME, "")
        return (name, "" if name else image.descriptor.digest)

    merged = {identity(image): image for image in present}
    for image in new:
        replaced = merged.get(identity(image), image)
        if replaced.descriptor.annotations.get(REPOSITORY, "") not in {"", image.descriptor.annotations[REPOSITORY]}:
            raise ImageLayoutError(
                f"the layout already has {replaced.descriptor.annotations[REF_NAME]} of another repository: "
                "export both repositories with one command, or to separate layouts"
            )
        merged[identity(image)] = image
    return list(merged.values())


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
