"""Access to a store within a budget: every request and byte of a job is charged here first."""

from collections.abc import AsyncGenerator

from core.coordination.budget import Budget
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage, ObjectStat
from core.store import layout
from core.store.links import LinkState, read_link
from core.store.objects import find
from core.store.repositories import holds_manifest, repository_paths
from core.store.stored_manifests import ManifestState, read_stored_manifest


class PacedStore:
    """Reads links, manifests and listings within a budget. One per job, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage, budget: Budget) -> None:
        self.storage = storage
        self.budget = budget

    async def link(self, key: str) -> LinkState:
        """Read a link. One request."""
        await self.budget.take()
        return await read_link(self.storage, key)

    async def stat(self, key: str) -> ObjectStat | None:
        """Return size and time of an object, or None if there is none. One request."""
        await self.budget.take()
        return await find(self.storage, key)

    async def size(self, key: str) -> int | None:
        """Return the size of an object, or None if there is none. One request."""
        stat = await self.stat(key)
        return stat.size if stat else None

    async def manifest(self, digest: Digest) -> ManifestState:
        """Read the data of a manifest and verify its digest. One request.

        Raises:
            StorageError: the store failed. Faulty content does not raise; the result names the problem.
        """
        await self.budget.take()
        found = await read_stored_manifest(self.storage, digest)
        await self.budget.take(requests=0, size=len(found.content))
        return found

    async def holds_manifest(self, name: RepositoryName) -> bool:
        """Whether a repository holds a manifest. One request."""
        await self.budget.take()
        return await holds_manifest(self.storage, name)

    def walk(self, prefix: str) -> AsyncGenerator[tuple[str, ObjectStat], None]:
        """Yield every object below `prefix`. One request per 1,000."""
        return self.budget.pace(self.storage.walk(prefix))

    def walk_repositories(self, directory: str) -> AsyncGenerator[tuple[str, ObjectStat], None]:
        """Yield every object in this directory of each repository. At most one request per 1,000 objects of all."""
        return self.budget.pace(self.storage.walk_within(layout.REPOSITORIES, directory))

    def children(self, prefix: str, *, after: str = "") -> AsyncGenerator[str, None]:
        """Yield the names below `prefix` in ascending order. One request per 1,000."""
        return self.budget.pace(self.storage.list_children(prefix, after=after))

    def repositories(self, *, after: str = "") -> AsyncGenerator[str, None]:
        """Yield the paths of repositories in ascending order. One request per 1,000."""
        return self.budget.pace(repository_paths(self.storage, after=after))

    async def links_at(self, path: str) -> AsyncGenerator[str, None]:
        """Yield the keys of all links of a repository, or of a path that is not a valid repository name."""
        async for child in self.children(layout.repository_path(path)):
            if child.startswith(layout.MARK):
                async for key, _ in self.walk(f"{layout.repository_path(path)}/{child}"):
                    if key.endswith(layout.LINK):
                        yield key
