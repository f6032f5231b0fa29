"""The port for the cache of blob descriptors: what was lately proven to be in a repository.

It saves the requests of "does the repository have this blob" while an image is pushed or pulled. What it tells may be
out of date for as long as it keeps entries, so adapters forget them after a time that is short beside the grace time
of garbage collection; a failing cache is a miss, never an error.
"""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from core.digest import Digest
from core.names import RepositoryName


class DescriptorCache(ABC):
    """Remembers sizes of linked blobs; one per process, safe for any number of tasks. No method raises."""

    name: str
    """The cache's name in configuration, metrics and logs."""

    async def __aenter__(self) -> Self:
        """Open what the adapter needs (pools)."""
        return self

    async def __aexit__(  # noqa: B027 - optional: memory has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it again."""

    @abstractmethod
    async def get(self, name: RepositoryName, digest: Digest) -> int | None:
        """Return the size in bytes of a blob that `name` linked under its own digest lately, or None."""

    @abstractmethod
    async def put(self, name: RepositoryName, digest: Digest, size: int) -> None:
        """Remember that link and data of a blob were just written or seen in storage."""

    @abstractmethod
    async def forget(self, name: RepositoryName, digest: Digest) -> None:
        """Forget a blob of this repository. Idempotent."""

    @abstractmethod
    async def forget_everywhere(self, digest: Digest) -> None:
        """Forget a blob of every repository, since garbage collection is about to take it. Idempotent."""
