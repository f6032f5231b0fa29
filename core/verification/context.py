"""State shared by the parts of one verification, and by the checks of one repository."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import ObjectStat
from core.store import layout
from core.store.timeline import Timeline
from core.verification.digest_table import DigestTable
from core.verification.findings import Confirmer
from core.verification.reading import StoreReader
from core.verification.repairs import Repairer
from core.verification.rules import VerificationRules

_LINKS_MAX: Final = 4_000_000


@dataclass(slots=True, kw_only=True)
class Context:
    """The tools, limits and shared results of one verification."""

    reader: StoreReader
    confirmer: Confirmer
    repairer: Repairer
    rules: VerificationRules
    timeline: Timeline
    """The store's time at the start of the verification, and the stretches of time that do not count."""
    grace: timedelta
    """Objects younger than this may belong to a write in progress."""
    forget_after: timedelta
    """Age at which the record of a manifest that was set aside is removed, if no tag or index refers to it."""
    inventory: DigestTable
    """The known sizes of blobs."""
    record_repair: Callable[[RepositoryName], Awaitable[None]]
    """Records that a repository was repaired."""
    damaged: set[Digest] = field(default_factory=set)
    """Blobs whose data exists but is damaged."""

    def is_settled(self, stat: ObjectStat) -> bool:
        """Whether an object is too old to belong to a write in progress, by the store's time."""
        return stat.modified_at <= self.timeline.before(self.grace)

    def is_given_up(self, stat: ObjectStat) -> bool:
        """Whether a manifest that was set aside has waited too long for a push, by the store's time."""
        return stat.modified_at <= self.timeline.before(self.forget_after)

    async def blob_size(self, digest: Digest) -> int | None:
        """Return the size of a blob, from the inventory if known, or None if its data is gone. At most one request."""
        size = self.inventory.get(digest)
        return await self.reader.size(layout.blob_data(digest)) if size is None else size

    async def size_now(self, digest: Digest) -> int | None:
        """Return the current size of a blob in storage, or None if its data is gone. One request."""
        return await self.reader.size(layout.blob_data(digest))


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
