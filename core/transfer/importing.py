"""Import of images from an OCI image layout, through the same services that accept pushes."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.errors import (
    BlobUnknownError,
    CachedRepositoryError,
    ContentDamagedError,
    DigestMismatchError,
    ImageLayoutError,
    ManifestInvalidError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    SizeMismatchError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import Actor
from core.model.manifest import PUSHED_MANIFEST_BYTES_MAX, Manifest, parse_manifest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobReader
from core.ports.image_layout import ImageLayout
from core.registry.facade import Registry
from core.transfer.layout_index import LayoutImage, blob_path, read_images

_DEPTH_MAX: Final = 8
"""Maximum depth of nested indexes. Build tools use at most two levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTarget:
    """Destination of the images, instead of the one in the layout."""

    name: RepositoryName | None = None
    tag: Tag | None = None
    """Tag for the only image of a layout, whatever its tag is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedImage:
    """An image that was imported."""

    name: RepositoryName
    digest: Digest
    tag: Tag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress:
    """Progress of an import."""

    images: tuple[ImportedImage, ...] = ()
    manifests: int = 0
    blobs_sent: int = 0
    blobs_present: int = 0
    """Blobs that the repository, or another repository of the same storage, already had."""
    bytes_sent: int = 0


class ImageImport:
    """Reads one layout; used once.

    The layout is not trusted: every blob and manifest is hashed, as in a push.

    Args:
        registry: the destination of the images. Its policies apply (immutable tags, references a manifest may have).
        layout: an open layout.
        by: the command, for the events.
        observe: called with each new state.
        is_cached: whether a repository is a cache of an upstream, which accepts no images.
    """

    def __init__(
        self,
        registry: Registry,
        layout: ImageLayout,
        *,
        by: Actor,
        observe: Callable[[ImportProgress], None],
        is_cached: Callable[[RepositoryName], bool] = lambda _name: False,
    ) -> None:
        self._registry = registry
        self._by = by
        self._layout = layout
        self._observe = observe
        self._is_cached = is_cached
        self._progress = ImportProgress()
        self._done: set[tuple[RepositoryName, Digest]] = set()

    async def run(self, target: ImportTarget) -> ImportProgress:
        """Import all images of the layout. For each image: its children, its blobs, its manifest, and its tag last.

        Content that was imported before an error stays. Another run sends only the rest.

        Raises:
            ImageLayoutError: the layout is malformed, lacks a file, or does not name the repository of an image.
            DigestMismatchError: the content of a file does not match its name.
            SizeMismatchError: the size of a file differs from the size in its descriptor.
            ManifestInvalidError: a manifest is invalid or nested too deeply.
            ManifestBlobUnknownError: a manifest refers to content that neither the layout nor the repository has.
            DeniedError: a tag is immutable and points elsewhere.
            CachedRepositoryError: an image belongs into a cached repository; nothing is imported.
        """
        images = _resolve(await read_images(self._layout), target)
        for _, name, _ in images:
            if self._is_cached(name):
                raise CachedRepositoryError(f"{name} is a cache of an upstream registry: choose another repository")
        for image, name, tag in images:
            await self._manifest(name, image.descriptor, tags=[tag] if tag else [])
            imported = ImportedImage(name=name, digest=image.descriptor.digest, tag=tag)
            self._update_progress(images=(*self._progress.images, imported))
        await self._registry.uploads.sweep()
        return self._progress

    async def _manifest(
        self, name: RepositoryName, descriptor: Descriptor, *, tags: Sequence[Tag] = (), depth: int = 0
    ) -> None:
        if depth > _DEPTH_MAX:
            raise ManifestInvalidError(f"indexes are nested more than {_DEPTH_MAX} levels deep")
        if (name, descriptor.digest) in self._done and not tags:
            return
        content = await self._content(descriptor)
        manifest = parse_manifest(content, descriptor.media_type)
        for child in manifest.manifests:
            if await self._is_there(child.digest):
                await self._manifest(name, child, depth=depth + 1)
        await self._blobs(name, manifest)
        await self._registry.push_manifest(
            name, content, manifest.media_type, by=self._by, digest=descriptor.digest, tags=tags
        )
        self._done.add((name, descriptor.digest))
        self._update_progress(manifests=self._progress.manifests + 1)

    async def _content(self, descriptor: Descriptor) -> bytes:
        try:
            content = await self._layout.read(blob_path(descriptor.digest), limit=PUSHED_MANIFEST_BYTES_MAX)
        except ObjectNotFoundError:
            raise ImageLayoutError(f"the layout does not contain the manifest {descriptor.digest}") from None
        except ObjectTooLargeError as error:
            raise ManifestInvalidError(f"the manifest {descriptor.digest} is too large: {error}") from None
        _require_size(descriptor, len(content))
        if (actual := Digest.of(content, descriptor.digest.algorithm)) != descriptor.digest:
            raise DigestMismatchError(
                f"the content of the manifest {descriptor.digest} in the layout does not match the digest",
                detail={"expected": descriptor.digest, "actual": actual},
            )
        return content

    async def _blobs(self, name: RepositoryName, manifest: Manifest) -> None:
        for blob in {blob.digest: blob for blob in manifest.blobs()}.values():
            if await self._has(name, blob.digest):
                self._update_progress(blobs_present=self._progress.blobs_present + 1)
            elif await self._is_there(blob.digest):
                await self._blob(name, blob)
            # Otherwise the blob may be stored elsewhere. The registry decides whether a manifest needs the blob.

    async def _has(self, name: RepositoryName, digest: Digest) -> bool:
        try:
            await self._registry.blobs.stat(name, digest)
        except (BlobUnknownError, ContentDamagedError):
            return await self._registry.blobs.mount(name, digest, source=None, by=self._by) is not None
        return True

    async def _is_there(self, digest: Digest) -> bool:
        try:
            async with self._layout.open(blob_path(digest)):
                return True
        except ObjectNotFoundError:
            return False

    async def _blob(self, name: RepositoryName, blob: Descriptor) -> None:
        async with self._layout.open(blob_path(blob.digest)) as reader:
            _require_size(blob, reader.size)
            await self._registry.uploads.put(name, blob.digest, self._metered(reader), by=self._by)
        self._update_progress(blobs_sent=self._progress.blobs_sent + 1)

    async def _metered(self, reader: BlobReader) -> AsyncIterator[bytes]:
        async for piece in reader:
            self._update_progress(bytes_sent=self._progress.bytes_sent + len(piece))
            yield piece

    def _update_progress(self, **changes: object) -> None:
        self._progress = replace(self._progress, **changes)  # type: ignore[arg-type]  # the caller passes fields
        self._observe(self._progress)


def _require_size(descriptor: Descriptor, size: int) -> None:
    if size != descriptor.size:
        raise SizeMismatchError(
            f"{descriptor.digest} has {size} bytes in the layout, but its descriptor states {descriptor.size}"
        )


def _resolve(
    images: Sequence[LayoutImage], target: ImportTarget
) -> list[tuple[LayoutImage, RepositoryName, Tag | None]]:
    """Return the destination of each image, before any image is imported.

    Raises:
        ImageLayoutError: an image has no repository, or two images would have the same tag.
    """
    named = [image for image in images if image.tag is not None] or list(images)
    if target.tag is not None and len(named) != 1:
        raise ImageLayoutError(f"the layout contains {len(named)} images: give a repository without a tag")
    resolved: list[tuple[LayoutImage, RepositoryName, Tag | None]] = []
    taken: dict[tuple[RepositoryName, Tag], Digest] = {}
    for image in images:
        name = target.name or image.repository
        if name is None:
            raise ImageLayoutError("the layout does not name the repository of an image: give a repository")
        tag = target.tag if target.tag is not None and image is named[0] else image.tag
        if tag is not None and taken.setdefault((name, tag), image.descriptor.digest) != image.descriptor.digest:
            raise ImageLayoutError(
                f"the layout contains two images for {name}:{tag}: import it without a repository name"
            )
        resolved.append((image, name, tag))
    return resolved
