"""The objects that entry points hold: one registry each, with exact types, built by `config.container`.

Nothing in them is open; `entrypoints.opening.opened` opens and closes what `lifetimes` lists.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from adapters.blob_storage.s3.shared_use import SharedUse
from adapters.descriptor_cache.marks import SharedMarks
from config.container.sign_ins import ExternalParts
from config.policies import TagImmutability
from config.settings import Settings
from core.access_keys.service import AccessKeys
from core.certificates.service import Certificates
from core.collection.guard import CollectionGuard
from core.collection.recovery import RoundWatch
from core.content_source import Offload
from core.coordination.budget import Budget
from core.coordination.lease import Lease
from core.coordination.read_only import ReadOnlySwitch
from core.coordination.schedule import SharedSchedule
from core.model.access import AccessPolicy
from core.model.digest import HasherFactory
from core.notifications.notifier import Notifier
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder
from core.ports.audit_log import AuditLog
from core.ports.authenticator import Authenticator
from core.ports.catalog_index import CatalogIndex
from core.ports.descriptor_cache import DescriptorCache
from core.ports.metrics import Metrics
from core.ports.redirection import Redirector
from core.ports.staging import StagingStorage
from core.ports.tracing import Tracer
from core.ports.untouched_sessions import UntouchedSessions
from core.pull_through.origins import Origins
from core.registry.facade import Registry
from core.retention.pulls import PullRecorder
from core.store.clock import StoreClock
from core.store.damage import DamageWatch
from core.store.links import Links
from core.trash.store import Trash
from core.verification.announcement import QuarantineAnnouncements
from core.verification.rules import VerificationOptions

if TYPE_CHECKING:
    from config.container.pull_through import PullThrough
    from core.summaries.folding import SummaryFolding
    from core.transfer.mirrors import MirrorService
    from core.verification.verifier import Verifier


class VerifierFactory(Protocol):
    """Creates the verifier of one run."""

    def __call__(self, *, budget: Budget) -> "Verifier":
        """Return a verifier that keeps to the budget and announces removals through `announcements`."""


@dataclass(frozen=True, kw_only=True)
class StoreApplication:
    """The store of one registry, without the services on it."""

    settings: Settings
    storage: StagingStorage
    read_only: ReadOnlySwitch

    @property
    def lifetimes(self) -> Sequence[AbstractAsyncContextManager[object]]:
        """The parts to open, in this order, and to close in reverse order."""
        return [self.storage]


@dataclass(frozen=True, kw_only=True)
class RegistryApplication(StoreApplication):
    """One registry with its services, for a command."""

    now: Callable[[], datetime]
    audit_log: AuditLog
    catalog_index: CatalogIndex
    descriptor_cache: DescriptorCache
    outbox_lifetime: AbstractAsyncContextManager[object]
    registry: Registry
    outbox: Outbox
    links: Links
    trash: Trash
    guard: CollectionGuard
    damage: DamageWatch
    store_clock: StoreClock
    new_hasher: HasherFactory
    offload: Offload
    collection_lease: Lease
    """Held during a collection by a command; collections by servers hold the one of their schedule."""
    new_folding: "Callable[[], SummaryFolding]"
    """Returns what keeps the stored summaries current, for the job of servers and for a rebuild by a command."""
    eviction_lease: Lease
    """Held during an eviction by a command; evictions by servers hold the one of their schedule."""
    announcements: QuarantineAnnouncements
    new_verifier: VerifierFactory
    new_mirror_service: "Callable[[], MirrorService]"
    access_keys: AccessKeys
    """The API keys of users."""
    certificates: Certificates | None
    """The certificates from an ACME server; None without `http.tls.letsencrypt`."""
    external: ExternalParts | None
    """The users of an identity provider; None if none is configured."""
    mirror_leases: Sequence[Lease]
    """The lease of each mirror, for a command; servers hold those of their schedules."""
    origins: Origins
    """The upstreams of cached repositories."""
    pull_through: "PullThrough | None"
    """The cache; None if no upstream is configured."""

    @property
    def storage_and_catalog(self) -> Sequence[AbstractAsyncContextManager[object]]:
        """The parts to open for a command that uses no others."""
        return [self.storage, self.catalog_index]

    @property
    @override
    def lifetimes(self) -> Sequence[AbstractAsyncContextManager[object]]:
        # The cache too: processes may share it, and must forget content that a command removes.
        cache = [] if self.pull_through is None else [self.pull_through]
        return [self.audit_log, self.storage, self.catalog_index, self.descriptor_cache, self.outbox_lifetime, *cache]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerParts:
    """The parts that the processes of one server share, built before the fork."""

    new_application: Callable[["ServerParts", "Observers"], "ServerApplication"]
    """Builds the application of a process, from the container that built the parts."""
    settings: Settings
    authenticator: Authenticator
    policy: AccessPolicy
    upload_secret: bytes
    audit_log: AuditLog
    creates_exclusively: bool
    """Whether the storage creates an object exclusively, see `BlobStorage`."""
    descriptor_marks: SharedMarks
    untouched_sessions: UntouchedSessions
    upload_use: SharedUse
    """The memory use of the uploads of each process, if the store is an object store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """Metrics and traces of one process, each None if disabled."""

    metrics: Metrics | None = None
    tracer: Tracer | None = None


@dataclass(frozen=True, kw_only=True)
class ServerApplication(RegistryApplication):
    """One registry in one process of a server, built after the fork."""

    observers: Observers
    redirector: Redirector | None
    """Names the URLs of redirects; None for those of the storage."""
    authenticator: Authenticator
    policy: AccessPolicy
    upload_secret: bytes
    tag_immutability: TagImmutability
    events: EventRecorder
    notifier: Notifier
    pull_recorder: PullRecorder | None
    trash_interval_seconds: float
    """Interval of `trash_schedule`."""
    trash_schedule: SharedSchedule
    mirror_schedules: Sequence[SharedSchedule]
    """The schedule of each mirror."""
    retention_schedule: SharedSchedule
    folding_schedule: SharedSchedule
    usage_schedule: SharedSchedule
    requested_usage: SharedSchedule
    """For measurements that requests start; with a lease of its own on the same job."""
    upload_purge_schedule: SharedSchedule
    upload_purge_budget: Budget
    collection_schedule: SharedSchedule
    requested_collection: SharedSchedule
    """For collections that requests start; with a lease of its own on the same job."""
    collection_watch: RoundWatch
    eviction_schedule: SharedSchedule
    prefetch_schedules: Sequence[SharedSchedule]
    """One for each rule, in the order of the rules."""
    verification_schedule: SharedSchedule
    requested_verification: SharedSchedule
    """For verifications that requests start; with a lease of its own on the same job."""
    verification_options: VerificationOptions
    verification_budget: Budget

    @property
    @override
    def lifetimes(self) -> Sequence[AbstractAsyncContextManager[object]]:
        redirector = [] if self.redirector is None else [self.redirector]
        provider = [] if self.external is None else [self.external.sign_in.provider]
        return [self.authenticator, *provider, *redirector, *super().lifetimes]
