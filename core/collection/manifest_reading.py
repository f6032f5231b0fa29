"""References of stored manifests.

If a manifest cannot be parsed, every digest in its text counts as a reference.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from core.coordination.paced_store import PacedStore
from core.model.digest import Digest
from core.model.media_types import MANIFESTS
from core.store.stored_manifests import OPAQUE, ManifestProblem, ManifestState

_DIGEST: Final = re.compile(rb"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadManifest:
    """The references of a manifest that collection follows."""

    digest: Digest
    blobs: Sequence[Digest] = ()
    children: Sequence[Digest] = ()
    subject: Digest | None = None
    problem: ManifestProblem | None = None

    @property
    def is_opaque(self) -> bool:
        """Whether the references of the manifest are unknown."""
        return self.problem in OPAQUE


async def read_references(store: PacedStore, digest: Digest) -> ReadManifest:
    """Read the references of a manifest. One storage request.

    Raises:
        StorageError: the store failed. Faulty content does not raise; the result names the problem.
    """
    return references_of(await store.manifest(digest))


def references_of(found: ManifestState) -> ReadManifest:
    """Return the references in the stored bytes of a manifest."""
    digest, manifest = found.digest, found.manifest
    if found.is_opaque:
        return ReadManifest(digest=digest, problem=found.problem)
    if manifest is None:
        named = tuple(dict.fromkeys(_digests(found.content)))
        # Each digest may be a blob or a manifest.
        return ReadManifest(digest=digest, blobs=named, children=named, problem=found.problem)
    blobs = [blob.digest for blob in manifest.blobs()]
    if manifest.media_type not in MANIFESTS:
        # A manifest of this type may have fields that we do not parse, so every digest in the text is kept.
        blobs = list(dict.fromkeys([*blobs, *_digests(found.content)]))
    return ReadManifest(
        digest=digest,
        blobs=blobs,
        # `others` are listed as blobs too: the repository's links decide which of them are manifests.
        children=[child.digest for child in (*manifest.manifests, *manifest.others)],
        subject=manifest.subject.digest if manifest.subject else None,
    )


def _digests(content: bytes) -> Iterator[Digest]:
    for match in _DIGEST.finditer(content):
        yield Digest(match.group().decode("ascii"))
