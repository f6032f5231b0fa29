"""Content that the immutable tags of a repository require.

An immutable tag is useless without its image, so no content of that image may be deleted either. No record lists the
manifests that refer to a blob. Therefore each delete reads the images of all immutable tags of the repository.
"""

from collections.abc import Callable, Sequence

from core.collection.manifest_reading import ReadManifest, references_of
from core.concurrency import map_bounded
from core.errors import DeniedError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.objects import find
from core.store.stored_manifests import ManifestProblem, read_stored_manifest
from core.store.tag_links import TagLinks


class ImmutableImages:
    """Finds the immutable tag that requires some content. Stateless; safe for concurrent tasks.

    Args:
        storage: the store.
        tag_links: the tags of the same store.
        is_immutable: whether a tag is immutable.
        covers: whether a repository can have immutable tags; if not, nothing is read.
    """

    def __init__(
        self,
        storage: BlobStorage,
        tag_links: TagLinks,
        *,
        is_immutable: Callable[[RepositoryName, Tag], bool],
        covers: Callable[[RepositoryName], bool],
    ) -> None:
        self._storage = storage
        self._tags = tag_links
        self._is_immutable = is_immutable
        self._covers = covers

    async def require_unneeded(self, name: RepositoryName, digest: Digest) -> None:
        """Refuse the deletion of a blob or manifest that an immutable tag of the repository requires.

        Costs a listing of the tags, one request per immutable tag, one per manifest of their images, and one per index
        entry that may be a blob or a manifest.

        Raises:
            DeniedError: the image of an immutable tag contains the content, or cannot be read and may contain it.
        """
        if not self._covers(name):
            return
        if (tag := await self._tag_needing(name, digest)) is not None:
            raise DeniedError(
                "content required by an immutable tag cannot be deleted", detail={"tag": tag, "digest": digest}
            )

    async def _tag_needing(self, name: RepositoryName, digest: Digest) -> Tag | None:
        tags = [tag for tag in await self._tags.listed(name) if self._is_immutable(name, tag)]

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
        """Return the children that are manifests, so that a large layer is not read as a manifest."""
        blobs = set(manifest.blobs)
        return [
            child
            for child in manifest.children
            if child not in blobs or await find(self._storage, layout.revision_link(name, child))
        ]

    async def _read(self, digest: Digest) -> ReadManifest:
        found = await read_stored_manifest(self._storage, digest)
        # A manifest without data cannot be pulled, so it requires nothing.
        return ReadManifest(digest=digest) if found.problem is ManifestProblem.MISSING else references_of(found)
