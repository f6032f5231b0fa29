"""Warming: fetching images before a client asks for them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from core.concurrency import map_bounded
from core.model.digest import Digest
from core.model.manifest import StoredManifest, read_if_manifest
from core.model.names import Reference, RepositoryName
from core.model.schema1 import schema1_layers
from core.ports.blob_storage import BlobStorage
from core.registry.blobs import BlobService
from core.registry.manifests import ManifestService
from core.store import layout
from core.store.objects import find

_BLOBS_AT_ONCE: Final = 4


@dataclass(slots=True, kw_only=True)
class WarmReport:
    """The parts of one image, and those of them that were fetched."""

    digest: Digest | None = None
    manifests: int = 0
    blobs: int = 0
    fetched: int = 0
    """Blobs that were not stored."""
    bytes_fetched: int = 0
    not_stored: int = 0
    """Fetched blobs that the cache had no room for."""


@dataclass(slots=True)
class _Image:
    name: RepositoryName
    platforms: Sequence[str]
    report: WarmReport = field(default_factory=WarmReport)
    seen: set[Digest] = field(default_factory=set)


class Warmer:
    """Fetches images through the services that clients use. Stateless.

    Args:
        storage: the store.
        manifests: the manifests of local and cached repositories.
        blobs: the blobs of local and cached repositories.
        note_use: called with each manifest; records a use, so that eviction keeps the image.
    """

    def __init__(
        self,
        storage: BlobStorage,
        manifests: ManifestService,
        blobs: BlobService,
        *,
        note_use: Callable[[RepositoryName, Digest], None],
    ) -> None:
        self._storage = storage
        self._manifests = manifests
        self._blobs = blobs
        self._note_use = note_use

    async def warm(self, name: RepositoryName, reference: Reference, *, platforms: Sequence[str] = ()) -> WarmReport:
        """Fetch an image, unless it is stored: its manifests, and the blobs of the wanted platforms.

        An image that is stored costs the check of its tag, and two storage requests per blob.

        Args:
            name: the repository.
            reference: a tag or a digest.
            platforms: `os/architecture` or `os/architecture/variant`; all platforms if empty.

        Raises:
            UnknownError: the upstream does not have the image, or a part of it.
            DeniedError: the rules of the upstream do not allow it.
            UpstreamError: the upstream failed.
            StorageError: the store failed.
        """
        image = _Image(name, platforms)
        await self._warm(image, reference)
        return image.report

    async def _warm(self, image: _Image, reference: Reference) -> None:
        stored = await self._manifests.get(image.name, reference)
        self._note_use(image.name, stored.digest)
        image.report.digest = image.report.digest or stored.digest
        image.report.manifests += 1
        new = [digest for digest in dict.fromkeys(_blobs(stored)) if digest not in image.seen]
        image.seen.update(new)
        await map_bounded(partial(self._fetch, image), new, at_once=_BLOBS_AT_ONCE)
        for digest in _children(stored, image.platforms):
            if digest not in image.seen:
                image.seen.add(digest)
                await self._warm(image, digest)

    async def _fetch(self, image: _Image, digest: Digest) -> None:
        report = image.report
        report.blobs += 1
        if await self._is_stored(image.name, digest):
            return
        async with self._blobs.open(image.name, digest) as reader:
            async for piece in reader:
                report.bytes_fetched += len(piece)
        report.fetched += 1
        # A reader ends after the blob was stored.
        report.not_stored += not await self._is_stored(image.name, digest)

    async def _is_stored(self, name: RepositoryName, digest: Digest) -> bool:
        keys = (layout.layer_link(name, digest), layout.blob_data(digest))
        return all([await find(self._storage, key) is not None for key in keys])


def _blobs(stored: StoredManifest) -> Sequence[Digest]:
    """Return the blobs of an image; none for an index, and none that clients get elsewhere."""
    manifest = read_if_manifest(stored.content)
    if manifest is None:
        return schema1_layers(stored.content)
    return () if manifest.is_index else [blob.digest for blob in manifest.blobs() if not blob.urls]


def _children(stored: StoredManifest, platforms: Sequence[str]) -> Sequence[Digest]:
    """Return the manifests of an index for these platforms; entries without a platform are for all of them."""
    manifest = read_if_manifest(stored.content)
    if manifest is None or not manifest.manifests:
        return ()
    by_digest = {entry["digest"]: entry.get("platform") or {} for entry in json.loads(stored.content)["manifests"]}
    return [child.digest for child in manifest.manifests if _is_wanted(by_digest[child.digest], platforms)]


def _is_wanted(platform: dict[str, object], platforms: Sequence[str]) -> bool:
    if not platforms or not platform:
        return True
    parts = [str(platform.get(part) or "") for part in ("os", "architecture", "variant")]
    return "/".join(parts[:2]) in platforms or "/".join(parts) in platforms
