"""In-memory cache of manifests. Entries never become stale, because their key is the digest of their content."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from core.model.digest import Digest
from core.model.manifest import StoredManifest, read_manifest
from core.model.media_types import SCHEMA1

BYTES_MAX: Final = 16 * 1024 * 1024
_ENTRY_BYTES_MAX: Final = 256 * 1024
"""Larger manifests are rare, and one of them would evict hundreds of frequently pulled manifests."""


class ManifestCache:
    """The most recently used manifests, up to `bytes_max` of content. One per process; does not check access."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[Digest, StoredManifest] = OrderedDict()

    def get(self, digest: Digest) -> StoredManifest | None:
        """Return the cached manifest, or None."""
        manifest = self._entries.get(digest)
        if manifest is not None:
            self._entries.move_to_end(digest)
        return manifest

    def related(self, digest: Digest) -> Sequence[Digest]:
        """Return the digests that a cached manifest refers to; empty for other manifests and for schema 1."""
        known = self._entries.get(digest)
        if known is None or known.media_type in SCHEMA1:
            return ()
        manifest = read_manifest(known.content)
        return [each.digest for each in (*manifest.blobs(), *manifest.manifests)]

    def put(self, manifest: StoredManifest) -> None:
        """Add a manifest whose bytes were verified against its digest."""
        if manifest.digest in self._entries or len(manifest.content) > _ENTRY_BYTES_MAX:
            return
        self._entries[manifest.digest] = manifest
        self._bytes += len(manifest.content)
        while self._bytes > self._bytes_max:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= len(oldest.content)
