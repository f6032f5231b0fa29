"""Deletion of cached repositories, with their records of checks."""

from collections.abc import Callable

from core.collection.guard import CollectionGuard
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.pull_through.origins import Origins
from core.pull_through.tag_state import TagStates
from core.registry.repositories import RepositoryRemoval, RepositoryService
from core.store.links import Links
from core.store.tag_links import TagLinks
from core.trash.store import Trash
from core.typing import override


class CachedRepositories(RepositoryService):
    """Deletes local and cached repositories; one per process.

    Args:
        storage, links, tag_links, trash, guard, is_immutable: see the base.
        origins: finds the upstreams.
        states: the records of tags.
    """

    def __init__(
        self,
        storage: BlobStorage,
        links: Links,
        tag_links: TagLinks,
        trash: Trash,
        *,
        guard: CollectionGuard,
        is_immutable: Callable[[RepositoryName, Tag], bool],
        origins: Origins,
        states: TagStates,
    ) -> None:
        super().__init__(storage, links, tag_links, trash, guard=guard, is_immutable=is_immutable)
        self._origins = origins
        self._states = states

    @override
    async def delete(
        self, name: RepositoryName, *, by: str = "", reason: str = "", dry_run: bool = False
    ) -> RepositoryRemoval:
        """Delete a repository (see the base); for a cached one, also the records of its tags."""
        removal = await super().delete(name, by=by, reason=reason, dry_run=dry_run)
        if not dry_run and self._origins.is_cached(name):
            await self._states.remove_all(name)
        return removal
