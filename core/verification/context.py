"""What all parts of one verification share."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from core import layout
from core.descriptor import Descriptor
from core.digest import Digest
from core.media_types import NONDISTRIBUTABLE_LAYERS
from core.names import RepositoryName, Tag
from core.ports.blob_storage import ObjectStat
from core.timeline import Timeline
from core.verification.digest_table import DigestTable
from core.verification.reading import StoreReader
from core.verification.repairs import Repairer
from core.verification.suspicion import Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRules:
    """What this registry's configuration asks of manifests and tags."""

    requires_blobs: bool = True
    """Whether a manifest could only be pushed with all its blobs: only then may a lost link be rebuilt, since it proves
    that the repository had the blob."""
    requires_child: Callable[[Descriptor], bool] = lambda _child: True
    keeps_tag: Callable[[RepositoryName, Tag], bool] = lambda _name, _tag: False

    def must_have(self, blob: Descriptor) -> bool:
        """Whether the store has to hold a blob that a manifest names."""
        return self.requires_blobs and not (blob.urls or blob.media_type in NONDISTRIBUTABLE_LAYERS)


@dataclass(slots=True, kw_only=True)
class Context:
    """One verification: how it reads, judges and repairs, and what it knows of blobs so far."""

    reader: StoreReader
    judge: Judge
    repairer: Repairer
    rules: VerificationRules
    timeline: Timeline
    """The store's own time at the start, and which of it does not count."""
    grace: timedelta
    """What is younger may be half of something that is being written."""
    forget_after: timedelta
    """How old the record of a manifest that was set aside is, and that nobody names, when it is given up."""
    inventory: DigestTable
    """The sizes of all blobs, as far as they are known."""
    damaged: set[Digest] = field(default_factory=set)
    """Blobs whose data is in its place and is not what it should be."""

    def is_settled(self, stat: ObjectStat) -> bool:
        """Whether an object is older than what may be in the making, by the store's time."""
        return stat.modified_at <= self.timeline.before(self.grace)

    def is_given_up(self, stat: ObjectStat) -> bool:
        """Whether a manifest that was set aside has waited for its push for long enough, by the store's time."""
        return stat.modified_at <= self.timeline.before(self.forget_after)

    async def blob_size(self, digest: Digest) -> int | None:
        """Return the size of a blob's data, or None where it is gone; at most one request."""
        size = self.inventory.get(digest)
        return await self.reader.size(layout.blob_data(digest)) if size is None else size

    async def size_now(self, digest: Digest) -> int | None:
        """Return the size of a blob's data as it is in this moment. One request."""
        return await self.reader.size(layout.blob_data(digest))

    async def holds_manifest(self, name: RepositoryName) -> bool:
        """Whether a repository holds a manifest in this moment. One request."""
        async with aclosing(self.reader.walk(layout.revisions(name))) as objects:
            # Signatures of schema 1 may be left of deleted manifests.
            async for key, _ in objects:
                if "/signatures/" not in key:
                    return True
        return False
