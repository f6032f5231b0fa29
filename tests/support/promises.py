"""What clients were told, and whether the store keeps it."""

from dataclasses import dataclass, field

from core import layout
from core.digest import Digest
from core.errors import ObjectNotFoundError
from core.manifest import read_manifest
from core.names import RepositoryName
from core.ports.blob_storage import BlobStorage


@dataclass
class Promises:
    """The images that were answered 200 or 201 and not deleted since; `storage` is looked at behind all backs."""

    storage: BlobStorage
    looks_at_once: bool = True
    """Whether what is promised must be there from then on, and not only at the end."""
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._images: set[tuple[RepositoryName, Digest]] = set()

    async def give(self, name: RepositoryName, digest: Digest) -> None:
        """Note that a client was told that an image is there; it must be there right now."""
        self._images.add((name, digest))
        if self.looks_at_once:
            self.broken += [f"when answered: {each}" for each in await self._missing(name, digest)]

    def take_back(self, name: RepositoryName, digest: Digest) -> None:
        """Note that somebody is about to delete an image."""
        self._images.discard((name, digest))

    async def check(self) -> list[str]:
        """Return what was broken, now or when it was given."""
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
