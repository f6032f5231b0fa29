"""Existence of repositories. No record lists them: a repository exists while its folder has content."""

from collections.abc import AsyncIterator

from core.concurrency import closing
from core.errors import NameUnknownError
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.store import layout


def repository_paths(storage: BlobStorage, *, after: str = "") -> AsyncIterator[str]:
    """Yield the paths of repositories greater than `after`, ascending by code point, as `BlobStorage.list_marked`.

    A path is not a valid name if another program made the folder.
    """
    return storage.list_marked(layout.REPOSITORIES, layout.MARK, after=after)


async def require_repository(storage: BlobStorage, name: RepositoryName) -> None:
    """Raise an error unless the repository exists. One storage request.

    A repository without tags can exist, with manifests, layers or uploads.

    Raises:
        NameUnknownError: the repository does not exist.
    """
    async with closing(storage.list_children(layout.repository(name))) as children:
        async for child in children:
            if child.startswith(layout.MARK):
                return
    raise NameUnknownError("repository name not known to registry", detail={"name": name})


async def holds_manifest(storage: BlobStorage, name: RepositoryName) -> bool:
    """Whether a repository holds a manifest. One storage request."""
    async with closing(storage.walk(layout.revisions(name))) as objects:
        # Folders of deleted manifests and schema 1 signatures may remain; only a link counts.
        async for key, _ in objects:
            if layout.is_revision_link(key):
                return True
    return False
