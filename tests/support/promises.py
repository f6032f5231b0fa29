"""Promises to clients, and the check that the store keeps them."""

from dataclasses import dataclass, field

from core.errors import ObjectNotFoundError
from core.model.digest import Digest
from core.model.manifest import read_manifest
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store import layout


@dataclass
class Promises:
    """Images that were acknowledged with 200 or 201 and not deleted since; checked directly in `storage`."""

    storage: BlobStorage
    looks_at_once: bool = True
    """Whether a promised image must exist from then on, and not only at the end."""
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._images: set[tuple[RepositoryName, Digest]] = set()

    async def give(self, name: RepositoryName, digest: Digest) -> None:
        """Record that an image was acknowledged to a client; with `looks_at_once`, check it now."""
        self._images.add((name, digest))
        if self.looks_at_once:
            self.broken += [f"when answered: {each}" for each in await self._missing(name, digest)]

    def take_back(self, name: RepositoryName, digest: Digest) -> None:
        """Record that an image is about to be deleted."""
        self._images.discard((name, digest))

    async def check(self) -> list[str]:
        """Return all promises that were broken, now or when they were given."""
        for name, digest in sorted(self._images):
            self.broken += [f"at the end: {each}" for each in await self._missing(name, digest)]
        return self.broken

    async def _missing(self, name: RepositoryName, digest: Digest) -> list[str]:
        keys = [layout.revision_link(name, digest), layout.blob_data(digest)]
        missing = [key for key in keys if not await self._exists(key)]
        if missing:
            return missing
        manifest = read_manifest(await self.storage.read(layout.blob_data(digest)))
        for blob in manifest.blobs():
            keys = [layout.layer_link(name, blob.digest), layout.blob_data(blob.digest)]
            missing += [f"{digest} lacks {key}" for key in keys if not await self._exists(key)]
        for child in manifest.manifests:
            missing += await self._missing(name, child.digest)
        return missing

    async def _exists(self, key: str) -> bool:
        try:
            await self.storage.stat(key)
        except ObjectNotFoundError:
            return False
        return True
