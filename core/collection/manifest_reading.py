"""References of stored manifests.

If a manifest cannot be parsed, every digest in its text counts as a reference.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.coordination.budget import Budget
from core.errors import DigestInvalidError, ManifestInvalidError, ObjectNotFoundError, ObjectTooLargeError
from core.model.digest import Digest
from core.model.manifest import STORED_MANIFEST_BYTES_MAX, read_manifest
from core.model.media_types import MANIFESTS
from core.model.schema1 import is_schema1
from core.ports.blob_storage import BlobStorage
from core.store import layout

_DIGEST: Final = re.compile(rb"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class Problem(StrEnum):
    """Reason why a stored manifest is not one that the registry serves today. Reports count and name the reasons."""

    MISSING = "its data is missing"
    TOO_LARGE = "it is too large to be a manifest"
    CORRUPT = "its data is not what its digest says"
    SCHEMA1 = "schema 1"
    UNREADABLE = "it cannot be read as a manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadManifest:
    """The references of a manifest that collection follows."""

    digest: Digest
    blobs: Sequence[Digest] = ()
    children: Sequence[Digest] = ()
    subject: Digest | None = None
    problem: Problem | None = None

    @property
    def is_opaque(self) -> bool:
        """Whether the references of the manifest are unknown."""
        return self.problem in {Problem.MISSING, Problem.TOO_LARGE, Problem.CORRUPT}


class ManifestReader:
    """Reads manifests within a budget. Stateless, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage, budget: Budget) -> None:
        self._storage = storage
        self._budget = budget

    async def read(self, digest: Digest) -> ReadManifest:
        """Read a manifest. One storage request.

        Raises:
            StorageError: the store failed. Faulty content does not raise; the result names the problem.
        """
        await self._budget.take()
        try:
            content = await self._storage.read(layout.blob_data(digest), limit=STORED_MANIFEST_BYTES_MAX)
        except ObjectNotFoundError:
            return ReadManifest(digest=digest, problem=Problem.MISSING)
        except ObjectTooLargeError:
            return ReadManifest(digest=digest, problem=Problem.TOO_LARGE)
        await self._budget.take(requests=0, size=len(content))
        return interpret(digest, content)


def interpret(digest: Digest, content: bytes) -> ReadManifest:
    """Return the references in the stored bytes of a manifest."""
    if Digest.of(content, digest.algorithm) != digest:
        return ReadManifest(digest=digest, problem=Problem.CORRUPT)
    try:
        manifest = read_manifest(content)
    except (ManifestInvalidError, DigestInvalidError):
        found = tuple(dict.fromkeys(_digests(content)))
        problem = Problem.SCHEMA1 if is_schema1(content) else Problem.UNREADABLE
        # Each digest may be a blob or a manifest.
        return ReadManifest(digest=digest, blobs=found, children=found, problem=problem)
    blobs = [blob.digest for blob in manifest.blobs()]
    if manifest.media_type not in MANIFESTS:
        # A manifest of this type may have fields that we do not parse, so every digest in the text is kept.
        blobs = list(dict.fromkeys([*blobs, *_digests(content)]))
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
