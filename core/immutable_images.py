"""The content that the immutable tags of a repository need.

A tag that stays is worth nothing without its image, so no content of the image may be deleted either. No record names
the manifests that refer to a blob, so each delete reads the images of all immutable tags of the repository.
"""

from collections.abc import Callable, Sequence

from core import layout
from core.collection.manifest_reading import Problem, ReadManifest, interpret
from core.concurrency import map_bounded
from core.digest import Digest
from core.errors import DeniedError, ObjectNotFoundError, ObjectTooLargeError
from core.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.tag_links import TagLinks

_BYTES_MAX = 16 * 1024 * 1024
"""Of a stored manifest, as everywhere."""


class ImmutableImages:
    """Finds the immutable tag that needs some content; holds nothing, safe for any number of tasks.

    Args:
        storage: the store.
        tag_links: of the same store.
        keeps_tag: whether a tag is immutable.
        covers: whether a repository may have immutable tags; where it may not, nothing is read.
    """

    def __init__(
        self,
        storage: BlobStorage,
        tag_links: TagLinks,
        *,
        keeps_tag: Callable[[RepositoryName, Tag], bool],
        covers: Callable[[RepositoryName], bool],
    ) -> None:
        self._storage = storage
        self._tags = tag_links
        self._keeps_tag = keeps_tag
        self._covers = covers

    async def require_unneeded(self, name: RepositoryName, digest: Digest) -> None:
        """Refuse the deletion of a blob or manifest that an immutable tag of the repository needs.

        Costs a listing of the tags, a request per immutable tag, one per manifest of their images, and one per entry of
        an index that may be a blob or a manifest.

        Raises:
            DeniedError: the image of an immutable tag has it, or cannot be read and may have it.
        """
        if not self._covers(name):
            return
        if (tag := await self._tag_needing(name, digest)) is not None:
            raise DeniedError(
                "an immutable tag needs this content: it cannot be deleted", detail={"tag": tag, "digest": digest}
            )

    async def _tag_needing(self, name: RepositoryName, digest: Digest) -> Tag | None:
        tags = [tag async for tag in self._tags.names(name) if self._keeps_tag(name, tag)]

        async def resolve(tag: Tag) -> Digest | None:
            return await self._tags.resolve(name, tag)

        owners: dict[Digest, Tag] = {}
        for tag, target in zip(tags, await map_bounded(resolve, tags), strict=True):
            if target is not None:
                owners.setdefault(target, tag)
        pending: Sequence[Digest] = list(owners)
        while pending:
            found: list[Digest] = []
            for manifest in await map_bounded(self._read, pending):
                tag = owners[manifest.digest]
                if manifest.is_opaque or digest in manifest.blobs or digest in manifest.children:
                    return tag
                if manifest.problem is None:
                    found += [child for child in await self._images(name, manifest) if child not in owners]
                    owners |= dict.fromkeys(found, tag)
            pending = list(dict.fromkeys(found))
        return None

    async def _images(self, name: RepositoryName, manifest: ReadManifest) -> Sequence[Digest]:
        """Return the children that are manifests: a large layer must not be read as one."""
        blobs = set(manifest.blobs)
        return [child for child in manifest.children if child not in blobs or await self._holds(name, child)]

    async def _holds(self, name: RepositoryName, digest: Digest) -> bool:
        try:
            await self._storage.stat(layout.revision_link(name, digest))
        except ObjectNotFoundError:
            return False
        return True

    async def _read(self, digest: Digest) -> ReadManifest:
        try:
            content = await self._storage.read(layout.blob_data(digest), limit=_BYTES_MAX)
        except ObjectNotFoundError:
            # Nothing can be pulled through it, so it needs nothing.
            return ReadManifest(digest=digest)
        except ObjectTooLargeError:
            return ReadManifest(digest=digest, problem=Problem.TOO_LARGE)
        return interpret(digest, content)
