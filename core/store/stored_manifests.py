"""Reading of stored manifests, which may be missing, damaged, or in a format that this registry does not parse."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.errors import ObjectNotFoundError, ObjectTooLargeError
from core.model.digest import Digest
from core.model.manifest import STORED_MANIFEST_BYTES_MAX, Manifest, read_if_manifest
from core.model.schema1 import is_schema1
from core.ports.blob_storage import BlobStorage
from core.store import layout


class ManifestProblem(StrEnum):
    """Reason why a stored manifest is not one that the registry serves today. Reports count and name the reasons."""

    MISSING = "data is missing"
    TOO_LARGE = "too large for a manifest"
    CORRUPT = "data does not match the digest"
    SCHEMA1 = "schema 1"
    UNREADABLE = "not a valid manifest"


_ABSENT: Final = frozenset({ManifestProblem.MISSING, ManifestProblem.TOO_LARGE})
OPAQUE: Final = _ABSENT | {ManifestProblem.CORRUPT}
"""Problems for which the references of the manifest are unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestState:
    """The stored data of a manifest. It has either a `manifest` or a `problem`."""

    digest: Digest
    content: bytes = b""
    """The exact bytes, which may be damaged; empty if they are absent."""
    manifest: Manifest | None = None
    problem: ManifestProblem | None = None

    @property
    def is_absent(self) -> bool:
        """Whether there are no bytes that could be a manifest."""
        return self.problem in _ABSENT

    @property
    def is_opaque(self) -> bool:
        """Whether the references of the manifest are unknown: the bytes are absent or damaged."""
        return self.problem in OPAQUE


async def read_stored_manifest(
    storage: BlobStorage, digest: Digest, *, limit: int = STORED_MANIFEST_BYTES_MAX
) -> ManifestState:
    """Read the data of a manifest and verify its digest. One storage request.

    Raises:
        StorageError: the store failed. Faulty content does not raise; the result names the problem.
    """
    try:
        content = await storage.read(layout.blob_data(digest), limit=limit)
    except ObjectNotFoundError:
        return ManifestState(digest=digest, problem=ManifestProblem.MISSING)
    except ObjectTooLargeError:
        return ManifestState(digest=digest, problem=ManifestProblem.TOO_LARGE)
    return examine_manifest(content, digest)


def examine_manifest(content: bytes, digest: Digest) -> ManifestState:
    """Verify the digest of stored bytes and parse them. Takes noticeable time for more than 64 KiB."""
    if Digest.of(content, digest.algorithm) != digest:
        return ManifestState(digest=digest, content=content, problem=ManifestProblem.CORRUPT)
    if (manifest := read_if_manifest(content)) is not None:
        return ManifestState(digest=digest, content=content, manifest=manifest)
    problem = ManifestProblem.SCHEMA1 if is_schema1(content) else ManifestProblem.UNREADABLE
    return ManifestState(digest=digest, content=content, problem=problem)
