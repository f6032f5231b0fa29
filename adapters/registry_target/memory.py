"""A registry in memory to copy to, which counts the calls and fails on demand."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from typing_extensions import override

from core.concurrency import closing
from core.errors import (
    DeniedError,
    DigestMismatchError,
    ManifestBlobUnknownError,
    StorageError,
    UnsupportedError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import parse_manifest
from core.model.names import Reference, RepositoryName, Tag
from core.ports.registry_target import NewManifest, ReadFrom, RegistryTarget


class InMemoryRegistryTarget(RegistryTarget):
    """Holds repositories in dictionaries, which tests may read and fill.

    Args:
        name: the name of the registry.
        lists_referrers: whether the registry keeps a list of referrers.
        requires_children: whether an index is refused while one of its entries is missing.
        deletes_tags: whether tags can be deleted.
    """

    def __init__(
        self,
        name: str = "target.example",
        *,
        lists_referrers: bool = True,
        requires_children: bool = True,
        deletes_tags: bool = True,
    ) -> None:
        self.name = name
        self.asked: Counter[str] = Counter()
        """Number of calls by method."""
        self.failure: StorageError | None = None
        """Raised by every call while it is set."""
        self.immutable: set[Tag] = set()
        self.blobs: dict[tuple[RepositoryName, Digest], bytes] = {}
        self.manifests: dict[tuple[RepositoryName, Digest], NewManifest] = {}
        self.pointers: dict[tuple[RepositoryName, Tag], Digest] = {}
        self._staged: dict[tuple[RepositoryName, Digest], bytes] = {}
        self._lists_referrers = lists_referrers
        self._requires_children = requires_children
        self._deletes_tags = deletes_tags

    @override
    async def resolve(self, name: RepositoryName, reference: Reference) -> Digest | None:
        self._ask("resolve")
        return found.digest if (found := self._manifest(name, reference)) else None

    @override
    async def has_blob(self, name: RepositoryName, digest: Digest) -> bool:
        self._ask("has_blob")
        return (name, digest) in self.blobs

    @override
    async def mount(self, name: RepositoryName, digest: Digest, *, source: RepositoryName | None) -> bool:
        self._ask("mount")
        content = self.blobs.get((source, digest)) if source is not None else None
        if content is None:
            return False
        self.blobs[name, digest] = content
        return True

    @override
    async def put_blob(self, name: RepositoryName, blob: Descriptor, read_from: ReadFrom) -> None:
        self._ask("put_blob")
        key = (name, blob.digest)
        async with closing(read_from(len(self._staged.get(key, b"")))) as pieces:
            async for piece in pieces:
                self._staged[key] = self._staged.get(key, b"") + piece
        content = self._staged.pop(key, b"")
        if (actual := Digest.of(content, blob.digest.algorithm)) != blob.digest:
            raise DigestMismatchError("wrong content", detail={"expected": blob.digest, "actual": actual})
        self.blobs[key] = content

    @override
    async def put_manifest(self, name: RepositoryName, manifest: NewManifest, tags: Sequence[Tag] = ()) -> bool:
        self._ask("put_manifest")
        parsed = parse_manifest(manifest.content, manifest.media_type)
        others = {other.digest for other in parsed.others}
        missing = [
            blob.digest
            for blob in parsed.blobs()
            if (name, blob.digest) not in self.blobs
            and not (blob.digest in others and (name, blob.digest) in self.manifests)
            and not blob.urls
        ]
        if self._requires_children:
            missing += [child.digest for child in parsed.manifests if (name, child.digest) not in self.manifests]
        if missing:
            raise ManifestBlobUnknownError(missing)
        for tag in tags:
            if tag in self.immutable and self.pointers.get((name, tag), manifest.digest) != manifest.digest:
                raise DeniedError(f"tag {tag} is immutable")
        self.manifests[name, manifest.digest] = manifest
        self.pointers.update({(name, tag): manifest.digest for tag in tags})
        return parsed.subject is None or self._lists_referrers

    @override
    async def read_manifest(self, name: RepositoryName, reference: Reference) -> NewManifest | None:
        self._ask("read_manifest")
        return self._manifest(name, reference)

    @override
    async def tags(self, name: RepositoryName) -> AsyncIterator[Tag]:
        self._ask("tags")
        for tag in sorted(tag for held, tag in self.pointers if held == name):
            yield tag

    @override
    async def delete_tag(self, name: RepositoryName, tag: Tag) -> None:
        self._ask("delete_tag")
        if not self._deletes_tags:
            raise UnsupportedError("the registry deletes no tags")
        if tag in self.immutable:
            raise DeniedError(f"tag {tag} is immutable")
        self.pointers.pop((name, tag), None)

    def _ask(self, method: str) -> None:
        self.asked[method] += 1
        if self.failure is not None:
            raise self.failure

    def _manifest(self, name: RepositoryName, reference: Reference) -> NewManifest | None:
        digest = reference if isinstance(reference, Digest) else self.pointers.get((name, reference))
        return self.manifests.get((name, digest)) if digest is not None else None
