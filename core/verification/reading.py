"""Access to a store within a budget: every request and byte of a verification is charged here first."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from core.content_source import Offload
from core.coordination.budget import Budget
from core.errors import ObjectNotFoundError, StorageUnavailableError
from core.model.digest import Digest, HasherFactory
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.store import layout
from core.store.hashing import feed
from core.store.links import LinkState, read_link
from core.store.objects import find
from core.store.repositories import repository_paths
from core.store.stored_manifests import ManifestState, read_stored_manifest
from core.typing import override


@dataclass(frozen=True, slots=True)
class DataState:
    """Size and digest of the bytes at a key. The digest is None if the store cannot read them all."""

    size: int
    digest: Digest | None

    @override
    def __str__(self) -> str:
        if self.digest is None:
            return f"cannot be read beyond {self.size} bytes"
        return f"{self.size} bytes that hash to {self.digest}"


class StoreReader:
    """Reads links, data and listings within a budget. One per verification, safe for any number of tasks."""

    def __init__(
        self,
        storage: BlobStorage,
        budget: Budget,
        *,
        new_hasher: HasherFactory,
        offload: Offload,
    ) -> None:
        self._storage = storage
        self._budget = budget
        self._new_hasher = new_hasher
        self._offload = offload

    async def link(self, key: str) -> LinkState:
        """Read a link. One request."""
        await self._budget.take()
        return await read_link(self._storage, key)

    async def size(self, key: str) -> int | None:
        """Return the size of an object, or None if there is none. One request."""
        stat = await self.stat(key)
        return stat.size if stat else None

    async def stat(self, key: str) -> ObjectStat | None:
        """Return size and time of an object, or None if there is none. One request."""
        await self._budget.take()
        return await find(self._storage, key)

    async def manifest(self, digest: Digest) -> ManifestState:
        """Read the data of a manifest and verify its digest. One request."""
        await self._budget.take()
        found = await read_stored_manifest(self._storage, digest)
        await self._budget.take(requests=0, size=len(found.content))
        return found

    async def data(self, key: str, algorithm: str) -> DataState | None:
        """Read and hash a whole object; return None if there is none. One request.

        If the object cannot be read to its end although the store responds (a bad sector), the result has no digest.

        Raises:
            StorageUnavailableError: the store does not respond.
        """
        hasher = self._new_hasher(algorithm, None)
        size = 0
        await self._budget.take()
        try:
            async with self._storage.open_reader(key) as reader:
                async for piece in reader:
                    await self._budget.take(requests=0, size=len(piece))
                    size += len(piece)
                    await feed(hasher, piece, self._offload)
        except ObjectNotFoundError:
            return None
        except StorageUnavailableError:
            await self._storage.check()
            # Reading also fails this way if the object is removed during the read.
            return None if await self.size(key) is None else DataState(size=size, digest=None)
        return DataState(size=size, digest=hasher.digest())

    def walk(self, prefix: str) -> AsyncGenerator[tuple[str, ObjectStat], None]:
        """Yield every object below `prefix`. One request per 1,000."""
        return self._budget.pace(self._storage.walk(prefix))

    def children(self, prefix: str, *, after: str = "") -> AsyncGenerator[str, None]:
        """Yield the names below `prefix` in ascending order. One request per 1,000."""
        return self._budget.pace(self._storage.list_children(prefix, after=after))

    async def links_at(self, path: str) -> AsyncGenerator[str, None]:
        """Yield the keys of all links of a repository, or of a path that is not a valid repository name."""
        async for child in self.children(layout.repository_path(path)):
            if child.startswith(layout.MARK):
                async for key, _ in self.walk(f"{layout.repository_path(path)}/{child}"):
                    if key.endswith(layout.LINK):
                        yield key

    def repositories(self, *, after: str = "") -> AsyncGenerator[str, None]:
        """Yield the paths of repositories in ascending order. One request per 1,000."""
        return self._budget.pace(repository_paths(self._storage, after=after))
