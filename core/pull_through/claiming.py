"""Claims of the blobs that served manifests refer to."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import DESCRIPTORS_MAX, StoredManifest, read_if_manifest
from core.model.names import RepositoryName
from core.registry.manifest_contents import ManifestContents

Claim = Callable[[RepositoryName, Iterable[Descriptor]], None]
"""Receives the blobs of a manifest that is served from a cached repository."""

_READ_MAX: Final = 512
"""Manifests whose lists of blobs are in memory."""
_BLOBS_MAX: Final = 128
"""Length of such a list; images have at most 127 layers. The blobs of other manifests are read at each pull."""


class Claimant:
    """Claims the blobs of each manifest that is served; one per process.

    Args:
        contents: parses large manifests in threads.
        claim: receives the blobs.
    """

    def __init__(self, contents: ManifestContents, claim: Claim) -> None:
        self._contents = contents
        self._claim = claim
        self._known = OrderedDict[Digest, Sequence[Descriptor]]()

    async def claim(self, name: RepositoryName, manifest: StoredManifest) -> None:
        """Claim the blobs of a manifest for a cached repository."""
        blobs = self._known.get(manifest.digest)
        if blobs is None:
            read = await self._contents.process(manifest.content, read_if_manifest, manifest.content)
            blobs = read.blobs()[:DESCRIPTORS_MAX] if read else ()
            if len(blobs) <= _BLOBS_MAX:
                self._known[manifest.digest] = blobs
            if len(self._known) > _READ_MAX:
                self._known.popitem(last=False)
        self._claim(name, blobs)
