"""Storing of manifests from an upstream, before any blob of theirs exists.

The keys, the exact bytes and the order of the writes are those of a push: data, referrer link, revision link. There is
no check of references; the blobs are fetched when a client asks for them.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.collection.guard import CollectionGuard, Need
from core.errors import (
    DigestInvalidError,
    ManifestInvalidError,
    ReadOnlyError,
    StorageUnavailableError,
)
from core.model.digest import Digest
from core.model.manifest import (
    Manifest,
    StoredManifest,
    has_too_many_parts,
    read_if_manifest,
    stored_media_type,
)
from core.model.media_types import DOCKER_SCHEMA1, INDEXES, MANIFESTS
from core.model.names import RepositoryName
from core.model.schema1 import is_schema1
from core.ports.blob_storage import BlobStorage
from core.ports.upstream import UPSTREAM_MANIFEST_BYTES_MAX, UpstreamManifest
from core.pull_through.failures import UnusableContentError
from core.registry.manifest_contents import ManifestContents
from core.store import layout
from core.store.damage import DamageWatch
from core.store.links import link_object

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Examined:
    """The readable parts of a fetched manifest."""

    media_type: str
    subject: Digest | None


class ManifestKeeper:
    """Examines and stores fetched manifests; one per process.

    Args:
        storage: the store.
        contents: hashes and parses large manifests in threads.
        guard: protects what is stored from a collection in progress.
        damage: knows which stored blobs are damaged.
        require_writable: raises `ReadOnlyError` while the registry is read-only.
        admits: whether the cache has room for a number of bytes.
    """

    def __init__(
        self,
        storage: BlobStorage,
        contents: ManifestContents,
        *,
        guard: CollectionGuard,
        damage: DamageWatch,
        require_writable: Callable[[], Awaitable[None]],
        admits: Callable[[int], Awaitable[bool]],
    ) -> None:
        self._storage = storage
        self._contents = contents
        self._guard = guard
        self._damage = damage
        self._require_writable = require_writable
        self._admits = admits

    async def keep(self, name: RepositoryName, found: UpstreamManifest) -> tuple[StoredManifest, bool]:
        """Store a fetched manifest; return it, and whether it was stored.

        A manifest that cannot be stored (the store is full, the registry is read-only) is returned all the same. Its
        blobs are not linked: only the upstream shows that the repository has them (`CachedBlobs`).

        Costs three storage requests.

        Raises:
            UnusableContentError: the content is not the manifest with this digest, or not one to be served.
        """
        if len(found.content) > UPSTREAM_MANIFEST_BYTES_MAX or has_too_many_parts(found.content):
            raise UnusableContentError(f"the upstream's manifest {found.digest} is too large")
        examined = await self._contents.process(found.content, _examine, found)
        manifest = StoredManifest(content=found.content, media_type=examined.media_type, digest=found.digest)
        try:
            await self._require_writable()
            if not await self._admits(len(found.content)):
                return manifest, False
            await self._store(name, manifest, examined)
        except ReadOnlyError:
            return manifest, False
        except StorageUnavailableError as error:
            _logger.warning("cached manifest not stored: %s", error, extra={"repository": name, "digest": found.digest})
            return manifest, False
        return manifest, True

    async def _store(self, name: RepositoryName, manifest: StoredManifest, examined: _Examined) -> None:
        digest = manifest.digest
        ticket = await self._guard.ticket()
        revision = layout.revision_link(name, digest)
        links = [] if examined.subject is None else [layout.referrer_link(name, examined.subject, digest)]
        objects = [(layout.blob_data(digest), manifest.content)]
        objects += [link_object(link, digest) for link in (*links, revision)]
        await self._storage.write_all(objects)
        await self._damage.prove(digest, len(manifest.content))
        if await self._guard.confirm(ticket, [Need(revision, digest)]):
            raise StorageUnavailableError(f"garbage collection removed {digest} while it was being stored")


def _examine(found: UpstreamManifest) -> _Examined:
    """Check that the bytes are the manifest with this digest, of the kind that the upstream announced."""
    if Digest.of(found.content, found.digest.algorithm) != found.digest:
        raise UnusableContentError(f"the upstream's content for {found.digest} does not match this digest")
    manifest = read_if_manifest(found.content)
    if manifest is not None:
        return _examine_parsed(found, manifest)
    if is_schema1(found.content):
        return _Examined(DOCKER_SCHEMA1, None)
    try:
        return _Examined(stored_media_type(found.content), None)
    except (ManifestInvalidError, DigestInvalidError) as error:
        raise UnusableContentError(f"the upstream's content for {found.digest} is no manifest: {error}") from error


def _examine_parsed(found: UpstreamManifest, manifest: Manifest) -> _Examined:
    # Documents of the two kinds look alike without `mediaType`. If a client took an image for an index, it would run
    # other content than the one that was checked (CVE-2021-41190).
    announced = found.media_type
    if announced in MANIFESTS and (announced in INDEXES) != manifest.is_index and manifest.media_type in MANIFESTS:
        raise UnusableContentError(f"the upstream announces {found.digest} as {announced}, but it is another type")
    subject = manifest.subject.digest if manifest.subject else None
    return _Examined(manifest.media_type, subject)
