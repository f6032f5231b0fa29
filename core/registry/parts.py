"""The parts that services are built from, declared once for those of local and of cached repositories."""

from dataclasses import dataclass

from core.collection.guard import CollectionGuard
from core.content_source import Offload
from core.ports.blob_storage import BlobStorage
from core.ports.descriptor_cache import DescriptorCache
from core.ports.redirection import Redirector
from core.registry.immutable_images import ImmutableImages
from core.registry.manifest_references import ManifestPolicy
from core.registry.publisher import Publisher
from core.registry.target_memory import TargetMemory
from core.store.damage import DamageWatch
from core.store.links import Links
from core.store.manifest_cache import ManifestCache
from core.store.tag_links import TagLinks
from core.trash.store import Trash


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobParts:
    """The parts of a service for blobs."""

    storage: BlobStorage
    links: Links
    cache: DescriptorCache
    """Used for pulls; may contain entries of other processes."""
    guard: CollectionGuard
    """Protects content from garbage collection, and caches the blobs that this process verified."""
    trash: Trash
    """Records removed links."""
    damage: DamageWatch
    immutable_images: ImmutableImages
    """Refuses the removal of content that immutable tags require."""
    publisher: Publisher
    """Publishes pulls, mounts and removals."""
    redirector: Redirector | None = None
    """Names the URLs of redirects; None for those of the storage."""
    shares_reads: bool = False
    """Whether callers share the reads of small blobs: for stores where a request costs more than a copy in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestParts:
    """The parts of a service for manifests."""

    storage: BlobStorage
    links: Links
    tag_links: TagLinks
    guard: CollectionGuard
    policy: ManifestPolicy
    memory: ManifestCache
    trash: Trash
    damage: DamageWatch
    immutable_images: ImmutableImages
    offload: Offload
    targets: TargetMemory | None = None
    """Remembers what tags point at: for stores behind a network."""
