"""The port for a registry that images are copied to.

Every method may raise a `StorageError`: an `UpstreamError` of a registry that is reached over the network, or that of a
store. A registry that refuses a request raises a `RegistryError`, such as `DeniedError`.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import Reference, RepositoryName, Tag
from core.ports.resource import Resource

ReadFrom = Callable[[int], AsyncIterator[bytes]]
"""Yields the bytes of a blob from an offset to its end. The caller closes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewManifest:
    """A manifest to store, with its exact bytes."""

    content: bytes
    media_type: str
    digest: Digest


class RegistryTarget(Resource):
    """Writes one registry, opened as a context manager; safe for concurrent tasks.

    Opening sends no request. Every call may be repeated: to store content that exists changes nothing.
    """

    name: str
    """A short name for logs and errors; never a URL with credentials."""

    @abstractmethod
    async def resolve(self, name: RepositoryName, reference: Reference) -> Digest | None:
        """Return the digest of a manifest that clients can pull, or None if there is none. One `HEAD`."""

    @abstractmethod
    async def has_blob(self, name: RepositoryName, digest: Digest) -> bool:
        """Return whether the repository has a blob that is not known to be damaged. One `HEAD`."""

    @abstractmethod
    async def mount(self, name: RepositoryName, digest: Digest, *, source: RepositoryName | None) -> bool:
        """Link a blob that the target has elsewhere; return whether the repository has the blob now.

        Args:
            name: the repository.
            digest: the blob.
            source: a repository that has the blob, or None if none is known.
        """

    @abstractmethod
    async def put_blob(self, name: RepositoryName, blob: Descriptor, read_from: ReadFrom) -> None:
        """Store a blob. The target verifies the digest before the blob can be read.

        Continues an upload that was interrupted, in this process or in an earlier one if the adapter remembers it.
        Errors of `read_from` are raised unchanged, and what was received until then is kept.

        Raises:
            DigestMismatchError: the bytes do not match the digest. Nothing is stored.
        """

    @abstractmethod
    async def put_manifest(self, name: RepositoryName, manifest: NewManifest, tags: Sequence[Tag] = ()) -> bool:
        """Store a manifest whose content the repository has, then point tags at the manifest.

        Returns:
            False if the manifest has a subject, and the target keeps no list of referrers. The caller then has to keep
            the list under the fallback tag (OCI distribution-spec, "Referrers Tag Schema").

        Raises:
            ManifestInvalidError: the target does not accept such a manifest.
            ManifestBlobUnknownError: the repository lacks content that the manifest refers to.
            DeniedError: the target refuses, for example because a tag is immutable.
        """

    @abstractmethod
    async def read_manifest(self, name: RepositoryName, reference: Reference) -> NewManifest | None:
        """Return a manifest of the target, or None if there is none. One `GET`."""

    @abstractmethod
    def tags(self, name: RepositoryName) -> AsyncIterator[Tag]:
        """Yield the tags of a repository; nothing for an unknown repository."""

    @abstractmethod
    async def delete_tag(self, name: RepositoryName, tag: Tag) -> None:
        """Delete a tag; not the manifest. Nothing happens if there is no such tag.

        Raises:
            UnsupportedError: the target cannot delete a tag without its manifest, or does not allow deletions.
            DeniedError: the tag is immutable.
        """
