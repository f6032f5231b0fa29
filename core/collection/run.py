"""Options and context of a run of garbage collection, and the state that its parts share."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from core.collection.bloom import BYTES_DEFAULT
from core.collection.listing import Lister
from core.collection.marks import Marks
from core.collection.recovery import RoundWatch
from core.collection.report import CollectionObserver, CollectionReport, ignore
from core.collection.rounds import ITEMS_MAX, OFFLINE_ITEMS_MAX
from core.content_source import Offload
from core.coordination.paced_store import PacedStore
from core.model.names import RepositoryName
from core.ports.descriptor_cache import DescriptorCache
from core.store.clock import StoreClock
from core.trash.store import Trash

GRACE_MIN: Final = timedelta(seconds=2)
"""Shortest grace period. Stores date objects in whole seconds: a link rewritten in the same second looks unchanged."""

Hook = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionOptions:
    """Options of a run."""

    grace: timedelta = timedelta(hours=24)
    """Content younger than this counts as needed: it may belong to a push in progress."""
    deletes_untagged: bool = False
    is_dry_run: bool = False
    is_offline: bool = False
    """Whether no server uses the store during the run. The run then does not wait for servers to see a round."""
    is_daring: bool = False
    """Whether to remove data although unreadable objects may need it. An operator decides this."""
    settle_seconds: float = 60.0
    filter_bytes: int = BYTES_DEFAULT
    """Memory for the filter of needed digests. A smaller filter keeps more garbage by mistake."""

    @property
    def effective_grace(self) -> timedelta:
        """The grace period in effect: at least `GRACE_MIN`, unless the run is offline."""
        return self.grace if self.is_offline else max(self.grace, GRACE_MIN)

    @property
    def effective_settle_seconds(self) -> float:
        """Time for servers to notice a round; 0 if no server runs."""
        return 0.0 if self.is_offline else self.settle_seconds

    @property
    def round_items_max(self) -> int:
        """Maximum number of items in a round."""
        return OFFLINE_ITEMS_MAX if self.is_offline else ITEMS_MAX

    @property
    def terms(self) -> str:
        """The options that must match for a run to continue from a checkpoint."""
        return f"grace={self.effective_grace.total_seconds()} untagged={self.deletes_untagged}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorContext:
    """Dependencies of a run other than the store, and its callbacks."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    new_key: Callable[[], bytes]
    """Returns 16 random bytes."""
    observe: CollectionObserver = ignore
    goes_on: Callable[[], bool] = lambda: True
    """Called between steps. Once this returns False, the run stops; the next run continues from the last checkpoint."""
    before: Sequence[Hook] = field(default=())
    """Called before marking. Retention removes tags here, so that this run can collect their manifests."""
    forget_repository: Callable[[RepositoryName], Awaitable[None]] | None = None
    """Called for each repository that lost manifests; the repository may have none left."""
    watch: RoundWatch | None = None
    """Observations of rounds that this process made while it waited to collect."""
    store_clock: StoreClock | None = None
    """The clock of the process. Without it, clock jumps are known only from the records in the store."""
    offload: Offload | None = None
    """Runs `function(*arguments)` in a thread. Set if the event loop also serves requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The store, and the state of one run: what it has marked and counted."""

    store: PacedStore
    trash: Trash
    cache: DescriptorCache
    """The cache from which removed blobs are dropped. Processes may share it."""
    lister: Lister
    marks: Marks
    report: CollectionReport
    young_after: datetime
    """Content written after this time, by the store's clock, is needed."""
    options: CollectionOptions
    context: CollectorContext
