"""The port for the cache of blob descriptors: blobs that were recently verified to be in a repository.

The cache saves the requests that check whether a repository has a blob during a push or pull. Entries may be outdated
until they expire, so their time to live is short compared with the grace period of garbage collection. A failing cache
is a miss, never an error.
"""

from abc import abstractmethod

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.resource import Resource


class DescriptorCache(Resource):
    """Cache of the sizes of linked blobs. One per process; safe for concurrent tasks. No method raises."""

    name: str
    """The cache's name in configuration, metrics and logs."""

    @abstractmethod
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        """Return the size in bytes of a blob that `name` recently linked under its own digest, or None."""

    @abstractmethod
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        """Record that link and data of a blob were just written or found in storage."""

    @abstractmethod
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        """Remove a blob of this repository from the cache. Idempotent."""

    @abstractmethod
    async def forget_everywhere(self, digest: Digest) -> None:
        """Remove a blob from the cache for every repository, before garbage collection deletes it. Idempotent."""
