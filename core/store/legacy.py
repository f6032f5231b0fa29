"""Formats of registries from 2015 and 2016: schema 1 manifests, their signatures, and manifests linked as layers."""

from core.errors import ObjectNotFoundError, ObjectTooLargeError, StorageCorruptError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.model.schema1 import is_schema1, join_signatures
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.links import Links

_SCHEMA1_BYTES_MAX = 1024 * 1024


class LegacyManifests:
    """Reads legacy manifests. Stateless; safe for concurrent tasks."""

    def __init__(self, storage: BlobStorage, links: Links) -> None:
        self._storage = storage
        self._links = links

    async def find_among_layers(self, name: RepositoryName, digest: Digest) -> bytes | None:
        """Return a schema 1 manifest that registry 2.1.0 linked as a layer, or None. One or two storage requests."""
        if await self._links.read(layout.layer_link(name, digest)) is None:
            return None
        try:
            content = await self._storage.read(layout.blob_data(digest), limit=_SCHEMA1_BYTES_MAX)
        except (ObjectNotFoundError, ObjectTooLargeError):
            return None
        return content if is_schema1(content) and Digest.of(content, digest.algorithm) == digest else None

    async def sign(self, name: RepositoryName, digest: Digest, payload: bytes) -> bytes | None:
        """Return the payload joined with its stored signatures, or None if there are no signatures.

        Raises:
            StorageCorruptError: a signature cannot be read.
        """
        signatures: list[bytes] = []
        async for key, _ in self._storage.walk(layout.signatures(name, digest)):
            target = await self._links.read(key)
            if target is not None:
                signatures.append(await self._signature(target))
        if not signatures:
            return None
        try:
            return join_signatures(payload, sorted(signatures))
        except ValueError as error:
            raise StorageCorruptError(f"the signatures of {digest} in {name} cannot be read") from error

    async def _signature(self, digest: Digest) -> bytes:
        try:
            return await self._storage.read(layout.blob_data(digest), limit=_SCHEMA1_BYTES_MAX)
        except (ObjectNotFoundError, ObjectTooLargeError) as error:
            raise StorageCorruptError(f"the signature {digest} is missing or too large") from error
