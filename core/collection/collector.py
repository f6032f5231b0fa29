"""One run of garbage collection: mark, then remove in rounds, while clients push and pull."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from core.collection.bloom import BYTES_DEFAULT
from core.collection.candidates import Candidates
from core.collection.checkpoint import COUNTS, Checkpoints, Progress
from core.collection.listing import Lister
from core.collection.manifest_reading import ManifestReader
from core.collection.marking import Marker
from core.collection.marks import Marks
from core.collection.pins import Pins
from core.collection.recovery import Recovery, RoundWatch
from core.collection.removing import RemovalContext, Remover
from core.collection.report import CollectionObserver, CollectionReport, Phase, ignore
from core.collection.rounds import ITEMS_MAX, OFFLINE_ITEMS_MAX, Rounds
from core.concurrency import map_bounded
from core.content_source import Offload
from core.coordination.budget import Budget
from core.errors import StorageFullError
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.ports.descriptor_cache import DescriptorCache
from core.store import layout
from core.store.clock import StoreClock
from core.store.links import Links
from core.trash.store import Trash

_logger = logging.getLogger(__name__)

_REPOSITORIES_AT_ONCE: Final = 4
_REPOSITORIES_PER_STEP: Final = 64
"""Repositories marked between two checks of `goes_on` and of the age of the checkpoint."""
_SAVE_SECONDS: Final = 60.0
_CHECKPOINT_AGE_MAX: Final = timedelta(days=1)
"""An older checkpoint is safe too, but misses everything that became garbage since."""

GRACE_MIN: Final = timedelta(seconds=2)
"""Shortest grace period. Stores date objects in whole seconds: a link rewritten in the same second looks unchanged."""
JOB: Final = "collect-garbage"
"""Name of the lease, and of the record of the last run."""

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


class Collector:
    """Collects the garbage of one store. One instance per run, used by one task.

    Concurrent runs are safe in any number of processes; they only repeat the same work.
    """

    def __init__(
        self,
        storage: BlobStorage,
        *,
        links: Links,
        trash: Trash,
        cache: DescriptorCache,
        budget: Budget,
        options: CollectionOptions,
        context: CollectorContext,
    ) -> None:
        self._storage = storage
        self._trash = trash
        self._cache = cache
        self._budget = budget
        self._options = options
        self._context = context
        self._rounds = Rounds(storage)
        self._pins = Pins(storage)
        self._lister = Lister(storage, links, budget)
        self._reader = ManifestReader(storage, budget)
        self._checkpoints = Checkpoints(storage, offload=context.offload)
        self.report = CollectionReport(is_dry_run=options.is_dry_run)
        """The progress of the run."""

    async def run(self) -> CollectionReport:
        """Collect garbage, or with `is_dry_run` only count the items to remove.

        Raises:
            StorageError: the store failed. Nothing is lost, and the next run continues from the last checkpoint.
        """
        began_at = self._context.clock()
        if not self._options.is_dry_run:
            await self._recover()
            if self._options.is_offline:
                # The servers that wrote the pins no longer run.
                await self._pins.remove(list(await self._pins.all()))
            for hook in self._context.before:
                await hook()
        if await self._collect():
            self.report.phase = Phase.DONE
        self.report.seconds = self._context.clock() - began_at
        self._context.observe(self.report)
        return self.report

    async def _recover(self) -> None:
        recovery = Recovery(
            self._storage,
            rounds=self._rounds,
            pins=self._pins,
            trash=self._trash,
            sleep=self._context.sleep,
            watch=self._context.watch or RoundWatch(self._rounds, clock=self._context.clock),
        )
        await recovery.end_abandoned(waits=not self._options.is_offline)

    async def _collect(self) -> bool:
        """Mark and remove. Return whether the run completed."""
        timeline = await (self._context.store_clock or StoreClock(self._storage)).look()
        progress, marks = await self._begin(timeline.now)
        grace = self._options.effective_grace
        # A continued run began earlier, and the clock may have jumped since.
        young_after = min(progress.began_at - grace, timeline.before(grace))
        self.report.clock_jump_seconds = timeline.skipped(grace).total_seconds()
        marker = Marker(
            self._lister,
            self._reader,
            marks,
            self.report,
            young_after=young_after,
            pinned={} if self._options.is_offline else await self._pins.all(),
            deletes_untagged=self._options.deletes_untagged,
        )
        if not await self._mark(progress, marks, marker):
            return False
        candidates = Candidates(
            self._lister,
            self._reader,
            marks,
            self.report,
            young_after=young_after,
            holds_data=self.report.unreadable > 0 and not self._options.is_daring,
        )
        if self._options.is_dry_run:
            async for item in candidates.all():
                self.report.count_removal(item, 1)
            return True
        remover = self._remover(marks, marker)
        if not await remover.remove_all(candidates.all(), goes_on=self._context.goes_on):
            return False
        await self._storage.prune([layout.repository(name) for name in marks.empty()], below=layout.REPOSITORIES)
        await self._tidy(young_after)
        return True

    async def _begin(self, now: datetime) -> tuple[Progress, Marks]:
        if not self._options.is_dry_run:
            saved = await self._checkpoints.load(self.report)
            if saved and saved[0].terms == self._options.terms and now - saved[0].began_at < _CHECKPOINT_AGE_MAX:
                return saved
        # `load` may have filled the report from a checkpoint that does not apply.
        for name in COUNTS:
            setattr(self.report, name, 0)
        self.report.problems.clear()
        progress = Progress(began_at=now, cursor="", is_marked=False, terms=self._options.terms)
        return progress, Marks(self._context.new_key(), filter_bytes=self._options.filter_bytes)

    async def _mark(self, progress: Progress, marks: Marks, marker: Marker) -> bool:
        if progress.is_marked:
            return True
        await self._survey(progress, marker)
        saved_at = self._context.clock()
        names: list[RepositoryName] = []
        async for name in self._lister.repositories(after=progress.cursor):
            names.append(name)
            if len(names) < _REPOSITORIES_PER_STEP:
                continue
            await self._mark_some(names, marker)
            if not self._context.goes_on():
                return False
            if self._context.clock() - saved_at >= _SAVE_SECONDS:
                await self._save(progress, names[-1], marks, is_marked=False)
                saved_at = self._context.clock()
            names = []
        await self._mark_some(names, marker)
        await self._save(progress, "", marks, is_marked=True)
        return self._context.goes_on()

    async def _survey(self, progress: Progress, marker: Marker) -> None:
        """Count the repositories that remain to be marked, and mark the paths that are not valid repository names."""
        if not progress.cursor:
            async for path in self._lister.unnamed():
                await marker.mark_unnamed(path)
        self.report.repositories_total = self.report.repositories
        async for _ in self._lister.repositories(after=progress.cursor):
            self.report.repositories_total += 1

    async def _mark_some(self, names: Sequence[RepositoryName], marker: Marker) -> None:
        async def mark_one(name: RepositoryName) -> None:
            await marker.mark(name)
            self._context.observe(self.report)

        await map_bounded(mark_one, names, at_once=_REPOSITORIES_AT_ONCE)

    async def _save(self, progress: Progress, cursor: str, marks: Marks, *, is_marked: bool) -> None:
        if not self._options.is_dry_run:
            now = Progress(began_at=progress.began_at, cursor=cursor, is_marked=is_marked, terms=progress.terms)
            try:
                await self._checkpoints.save(now, marks, self.report)
            except StorageFullError:
                # A checkpoint only saves time after a kill, and this run may free space.
                _logger.warning("checkpoint not saved: the store is full")

    def _remover(self, marks: Marks, marker: Marker) -> Remover:
        settle_seconds = 0.0 if self._options.is_offline else self._options.settle_seconds
        return Remover(
            RemovalContext(
                storage=self._storage,
                rounds=self._rounds,
                pins=self._pins,
                trash=self._trash,
                cache=self._cache,
                budget=self._budget,
                marker=marker,
                marks=marks,
                report=self.report,
                observe=self._context.observe,
                clock=self._context.clock,
                sleep=self._context.sleep,
                settle_seconds=settle_seconds,
                round_items_max=OFFLINE_ITEMS_MAX if self._options.is_offline else ITEMS_MAX,
            )
        )

    async def _tidy(self, young_after: datetime) -> None:
        await self._checkpoints.clear()
        # The collector of a running round may still need a pin, however old the pin is.
        if not await self._rounds.states():
            old = [digest for digest, since in (await self._pins.all()).items() if since <= young_after]
            await self._pins.remove(old)
        if self._context.forget_repository is not None:
            for name, part in self.report.by_repository.items():
                if part.manifests_removed:
                    await self._context.forget_repository(RepositoryName(name))
