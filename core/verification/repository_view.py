"""State of the repository that a verification is checking."""

from dataclasses import dataclass, field
from typing import Final

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import ObjectStat
from core.verification.digest_table import DigestTable

_LINKS_MAX: Final = 4_000_000


def _table() -> DigestTable:
    return DigestTable(_LINKS_MAX)


@dataclass(slots=True)
class RepositoryView:
    """The links of one repository: fingerprints only, except for its tags, indexes and defects."""

    name: RepositoryName
    tags: dict[Tag, Digest] = field(default_factory=dict)
    """The digest each tag points to."""
    layers: DigestTable = field(default_factory=_table)
    """Digests the repository links. The number is 1 for an alias of another digest, else 0."""
    revisions: DigestTable = field(default_factory=_table)
    """Manifests the repository holds, with the number of their media type; 0 if unknown."""
    listed_referrers: DigestTable = field(default_factory=_table)
    """Pairs of subject and manifest in the lists of referrers."""
    true_referrers: DigestTable = field(default_factory=_table)
    """Pairs of subject and manifest according to the manifests."""
    set_aside: dict[Digest, ObjectStat] = field(default_factory=dict)
    """Manifests that were set aside as incomplete, each with the state of its record."""
    indexes: list[Digest] = field(default_factory=list)
    """Manifests that are indexes."""
    needed_lost: set[Digest] = field(default_factory=set)
    """Blobs that manifests refer to and whose data is gone or damaged."""
    manifests: int = 0
    """Number of manifests that were read."""

    def holds(self, digest: Digest) -> bool:
        """Whether the repository holds a manifest, or has set it aside."""
        return digest in self.revisions or digest in self.set_aside

    def tags_of(self, digest: Digest) -> list[Tag]:
        """Return the tags that point to a manifest, sorted."""
        return sorted(tag for tag, target in self.tags.items() if target == digest)


def referrer_pair(subject: Digest, digest: Digest) -> str:
    """Return the text that represents a pair of subject and manifest in a table."""
    return f"{subject}<{digest}"
