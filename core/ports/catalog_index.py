"""The port for the index of the catalog: the sorted set of repository names.

An index never decides whether an image exists; storage does. Names are compared by code point everywhere.
"""

from abc import abstractmethod
from collections.abc import AsyncIterable

from core.model.names import RepositoryName
from core.model.pagination import Page
from core.ports.resource import Resource


class CatalogIndex(Resource):
    """A sorted set of repository names. One per process; safe for concurrent tasks.

    The set may be lost as a whole: there was none yet, or another program removed it. Then every method but
    `replace_all` raises `CatalogLostError`, in every process, until a `replace_all` has ended. No other method creates
    a set, since an empty one would look complete.

    Every method may raise `StorageUnavailableError`. Error messages must not contain secrets.
    """

    name: str
    """The index's name in configuration, metrics and logs."""

    @abstractmethod
    async def add(self, name: RepositoryName) -> bool:
        """Add `name` to the set; pages contain it when this returns. Idempotent. Called on every push of a manifest.

        Returns:
            Whether the set may have lacked the name before. False only if the set certainly contained the name.
        """

    @abstractmethod
    async def remove(self, name: RepositoryName) -> None:
        """Remove `name` from the set. Idempotent. Called after the last manifest of a repository is deleted."""

    @abstractmethod
    async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
        """Return the first `limit` names strictly greater than `after`, ascending by code point.

        `after` need not exist or be valid; the empty text means from the start. A limit of 0 returns an empty page
        without `has_more`. Never loads the whole set to return a page.
        """

    @abstractmethod
    async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
        """Replace the set by exactly `names`, which are streamed, in any order, possibly with duplicates.

        Readers see the old or the new set, never an empty or incomplete one. If `names` or the store fails, the old set
        stays, or the set stays lost. A name that is added during the replacement is not lost. Two processes may run
        this concurrently.

        A set that is lost at the beginning appears with all of its names. An index that cannot do that in its store,
        for want of rights, may be empty for a moment before; so a caller does not trust an empty index after a loss.

        Raises:
            CatalogLostError: the set was lost during the replacement, so names that others added may be lost with it.
        """

    @property
    @abstractmethod
    def is_derived(self) -> bool:
        """Whether the index is read from storage each time, so that it never has to be filled or repaired."""

    @abstractmethod
    async def check(self) -> None:
        """Check cheaply whether the index responds.

        Raises:
            StorageUnavailableError: the index does not respond.
        """
