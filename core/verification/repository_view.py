"""What a verification knows of the repository that it is looking at."""

from dataclasses import dataclass, field
from typing import Final

from core.digest import Digest
from core.names import RepositoryName, Tag
from core.ports.blob_storage import ObjectStat
from core.verification.digest_table import DigestTable

_LINKS_MAX: Final = 4_000_000


def _table() -> DigestTable:
    return DigestTable(_LINKS_MAX)


@dataclass(slots=True)
class RepositoryView:
    """The links of one repository: sets of fingerprints, besides its tags and what is wrong."""

    name: RepositoryName
    tags: dict[Tag, Digest] = field(default_factory=dict)
    """What each tag points at."""
    layers: DigestTable = field(default_factory=_table)
    """The digests that it links."""
    revisions: DigestTable = field(default_factory=_table)
    """The manifests that it holds."""
    listed_referrers: DigestTable = field(default_factory=_table)
    """The pairs of subject and manifest in its lists of referrers."""
    true_referrers: DigestTable = field(default_factory=_table)
    """The pairs that its manifests say."""
    set_aside: dict[Digest, ObjectStat] = field(default_factory=dict)
    """Manifests that it is to hold again as soon as they are whole, with their records."""
    indexes: list[Digest] = field(default_factory=list)
    """The manifests that list others."""
    needed_lost: set[Digest] = field(default_factory=set)
    """Blobs that manifests name and whose data is gone."""
    manifests: int = 0
    """How many manifests were read."""

    def holds(self, digest: Digest) -> bool:
        """Whether it holds a manifest, or will."""
        return digest in self.revisions or digest in self.set_aside

    def tags_of(self, digest: Digest) -> list[Tag]:
        """Return the tags that point at a manifest, sorted."""
        return sorted(tag for tag, target in self.tags.items() if target == digest)


def referrer_pair(subject: Digest, digest: Digest) -> str:
    """Return the text by which a pair of subject and manifest is remembered."""
    return f"{subject}<{digest}"
