"""The port for the catalog's index: the sorted set of repository names.

An index never decides whether an image exists: storage does. Names are compared by code point everywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable
from types import TracebackType
from typing import Self

from core.names import RepositoryName
from core.pagination import Page


class CatalogIndex(ABC):
    """A sorted set of repository names; one per process, safe for any number of tasks.

    Every method may raise `StorageUnavailableError`, or its child `CatalogLostError` when the whole set is lost;
    nothing in their texts may tell a secret.
    """

    name: str
    """The index's name in configuration, metrics and logs."""

    async def __aenter__(self) -> Self:
        """Open what the adapter needs (pools, files)."""
        return self

    async def __aexit__(  # noqa: B027 - optional: memory has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it again."""

    @abstractmethod
    async def add(self, name: RepositoryName) -> None:
        """Have `name` in the set: paged when this returns. Idempotent. Called on every push of a manifest."""

    @abstractmethod
    async def remove(self, name: RepositoryName) -> None:
        """Have `name` out of the set. Idempotent. Called after the last manifest of a repository is deleted."""

    @abstractmethod
    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        """Return the first `limit` names strictly greater than `after`, ascending by code point.

        `after` need not be a name that exists, nor a legal one; the empty text means from the start. A limit of 0
        is an empty page that says nothing more follows. Never loads the whole set to return a page.
        """

    @abstractmethod
    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        """Make the set exactly `names`, which come streamed, in any order, possibly more than once.

        Readers see the old or the new set, never an empty or half-filled one; if `names` or the store fails, the
        old set stays. A name added while this runs is not lost. Two processes may run it at once.
        """

    @property
    @abstractmethod
    def is_derived(self) -> bool:
        """Whether the index is read from storage each time, so that there is nothing to fill or to repair."""

    @abstractmethod
    async def check(self) -> None:
        """Find out cheaply whether the index answers.

        Raises:
            StorageUnavailableError: it does not.
        """
