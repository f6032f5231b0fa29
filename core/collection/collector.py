"""A run of garbage collection: mark, then remove in rounds, while everybody goes on pushing and pulling."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from core import layout
from core.budget import Budget
from core.collection.bloom import BYTES_DEFAULT
from core.collection.candidates import Candidates
from core.collection.checkpoint import COUNTS, Checkpoints, Progress
from core.collection.listing import Lister
from core.collection.manifest_reading import ManifestReader
from core.collection.marking import Marker
from core.collection.marks import Marks
from core.collection.recovery import Recovery, Vigil
from core.collection.removing import Remover, Tools
from core.collection.report import CollectionReport, Observer, Phase, ignore
from core.collection.rounds import ITEMS_MAX, OFFLINE_ITEMS_MAX, Rounds
from core.collection.spares import Spares
from core.concurrency import map_bounded
from core.errors import StorageFullError
from core.links import Links
from core.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.ports.descriptor_cache import DescriptorCache
from core.store_clock import StoreClock
from core.trash import Trash

_logger = logging.getLogger(__name__)

_REPOSITORIES_AT_ONCE: Final = 4
_REPOSITORIES_PER_STEP: Final = 64
"""How many are read between two looks at whether to go on, and to save."""
_SAVE_SECONDS: Final = 60.0
_CHECKPOINT_AGE_MAX: Final = timedelta(days=1)
"""An older one is good too, but knows nothing of what became garbage since."""

GRACE_MIN: Final = timedelta(seconds=2)
"""Less would not tell a link from one that was written in its place in the same second, as coarse as stores date."""
JOB: Final = "collect-garbage"
"""The name of the lease and of the record of when garbage was collected last."""

Hook = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionOptions:
    """What a run is asked for."""

    grace: timedelta = timedelta(hours=24)
    """What was written less than this ago is needed: it may belong to a push that is under way."""
    deletes_untagged: bool = False
    is_dry_run: bool = False
    is_offline: bool = False
    """Whether nobody serves the store meanwhile, so that nobody need be waited for."""
    is_daring: bool = False
    """Whether data goes although something cannot be read that may need it: an operator decided so."""
    settle_seconds: float = 60.0
    filter_bytes: int = BYTES_DEFAULT
    """The memory for what is needed; with little, more garbage is kept by mistake."""

    @property
    def effective_grace(self) -> timedelta:
        """The grace that is given."""
        return self.grace if self.is_offline else max(self.grace, GRACE_MIN)

    @property
    def terms(self) -> str:
        """What a checkpoint must agree in."""
        return f"grace={self.effective_grace.total_seconds()} untagged={self.deletes_untagged}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a run touches besides the store, and what it is called back with."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    new_key: Callable[[], bytes]
    """Makes 16 random bytes."""
    observe: Observer = ignore
    goes_on: Callable[[], bool] = lambda: True
    """Asked between steps; once it is False, the run ends where it is, and the next one goes on from there."""
    before: Sequence[Hook] = field(default=())
    """What is done before marking: retention takes tags away that are then garbage."""
    forget_repository: Callable[[RepositoryName], Awaitable[None]] | None = None
    """Called for a repository that lost manifests: it may have none left."""
    vigil: Vigil | None = None
    """What was seen of rounds while this process waited to collect."""
    store_clock: StoreClock | None = None
    """That of the process; without it, only what the store remembers tells of jumps."""
    offload: Callable[..., Awaitable[Any]] | None = None
    """Runs `function(*arguments)` in a thread, where the event loop has others to serve."""


class Collector:
    """Collects the garbage of one store; used by one task, for one run.

    Several at once, in any number of processes, do no harm; they do the work twice.
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
        surroundings: Surroundings,
    ) -> None:
        self._storage = storage
        self._trash = trash
        self._cache = cache
        self._budget = budget
        self._options = options
        self._around = surroundings
        self._rounds = Rounds(storage)
        self._spares = Spares(storage)
        self._lister = Lister(storage, links, budget)
        self._reader = ManifestReader(storage, budget)
        self._checkpoints = Checkpoints(storage, offload=surroundings.offload)
        self.report = CollectionReport(is_dry_run=options.is_dry_run)
        """How far the run is."""

    async def run(self) -> CollectionReport:
        """Collect, or with `is_dry_run` tell what would go.

        Raises:
            StorageError: the store failed; nothing is lost, and the next run goes on from the last checkpoint.
        """
        began_at = self._around.clock()
        if not self._options.is_dry_run:
            await self._recover()
            if self._options.is_offline:
                # Nobody who wrote them serves any more.
                await self._spares.remove(list(await self._spares.all()))
            for hook in self._around.before:
                await hook()
        if await self._collect():
            self.report.phase = Phase.DONE
        self.report.seconds = self._around.clock() - began_at
        self._around.observe(self.report)
        return self.report

    async def _recover(self) -> None:
        recovery = Recovery(
            self._storage,
            rounds=self._rounds,
            spares=self._spares,
            trash=self._trash,
            sleep=self._around.sleep,
            vigil=self._around.vigil or Vigil(self._rounds, clock=self._around.clock),
        )
        await recovery.end_abandoned(waits=not self._options.is_offline)

    async def _collect(self) -> bool:
        """Return whether the run came to its end."""
        timeline = await (self._around.store_clock or StoreClock(self._storage)).look()
        progress, marks = await self._begin(timeline.now)
        grace = self._options.effective_grace
        # The run may have begun earlier, and the clock may have jumped since.
        young_after = min(progress.began_at - grace, timeline.before(grace))
        self.report.clock_jump_seconds = timeline.skipped(grace).total_seconds()
        marker = Marker(
            self._lister,
            self._reader,
            marks,
            self.report,
            young_after=young_after,
            spared={} if self._options.is_offline else await self._spares.all(),
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
        if not await remover.remove_all(candidates.all(), goes_on=self._around.goes_on):
            return False
        await self._storage.prune([layout.repository(name) for name in marks.empty()], below=layout.REPOSITORIES)
        await self._tidy(young_after)
        return True

    async def _begin(self, now: datetime) -> tuple[Progress, Marks]:
        if not self._options.is_dry_run:
            saved = await self._checkpoints.load(self.report)
            if saved and saved[0].terms == self._options.terms and now - saved[0].began_at < _CHECKPOINT_AGE_MAX:
                return saved
        for name in COUNTS:
            setattr(self.report, name, 0)
        self.report.problems.clear()
        progress = Progress(began_at=now, cursor="", is_marked=False, terms=self._options.terms)
        return progress, Marks(self._around.new_key(), filter_bytes=self._options.filter_bytes)

    async def _mark(self, progress: Progress, marks: Marks, marker: Marker) -> bool:
        if progress.is_marked:
            return True
        await self._survey(progress, marker)
        saved_at = self._around.clock()
        names: list[RepositoryName] = []
        async for name in self._lister.repositories(after=progress.cursor):
            names.append(name)
            if len(names) < _REPOSITORIES_PER_STEP:
                continue
            await self._mark_some(names, marker)
            if not self._around.goes_on():
                return False
            if self._around.clock() - saved_at >= _SAVE_SECONDS:
                await self._save(progress, names[-1], marks, is_marked=False)
                saved_at = self._around.clock()
            names = []
        await self._mark_some(names, marker)
        await self._save(progress, "", marks, is_marked=True)
        return self._around.goes_on()

    async def _survey(self, progress: Progress, marker: Marker) -> None:
        """Count the repositories that are still to be marked, and mark what lies among them under other names."""
        if not progress.cursor:
            async for path in self._lister.unnamed():
                await marker.mark_unnamed(path)
        self.report.repositories_total = self.report.repositories
        async for _ in self._lister.repositories(after=progress.cursor):
            self.report.repositories_total += 1

    async def _mark_some(self, names: Sequence[RepositoryName], marker: Marker) -> None:
        async def mark_one(name: RepositoryName) -> None:
            await marker.mark(name)
            self._around.observe(self.report)

        await map_bounded(mark_one, names, at_once=_REPOSITORIES_AT_ONCE)

    async def _save(self, progress: Progress, cursor: str, marks: Marks, *, is_marked: bool) -> None:
        if not self._options.is_dry_run:
            now = Progress(began_at=progress.began_at, cursor=cursor, is_marked=is_marked, terms=progress.terms)
            try:
                await self._checkpoints.save(now, marks, self.report)
            except StorageFullError:
                # It only saves time after a kill, and this run may free the space.
                _logger.warning("the store is full: this collection keeps no checkpoint")

    def _remover(self, marks: Marks, marker: Marker) -> Remover:
        settle_seconds = 0.0 if self._options.is_offline else self._options.settle_seconds
        return Remover(
            Tools(
                storage=self._storage,
                rounds=self._rounds,
                spares=self._spares,
                trash=self._trash,
                cache=self._cache,
                budget=self._budget,
                marker=marker,
                marks=marks,
                report=self.report,
                observe=self._around.observe,
                clock=self._around.clock,
                sleep=self._around.sleep,
                settle_seconds=settle_seconds,
                round_items_max=OFFLINE_ITEMS_MAX if self._options.is_offline else ITEMS_MAX,
            )
        )

    async def _tidy(self, young_after: datetime) -> None:
        await self._checkpoints.clear()
        # While any round is under way, its collector may still have to see a spare, however old it is.
        if not await self._rounds.states():
            old = [digest for digest, since in (await self._spares.all()).items() if since <= young_after]
            await self._spares.remove(old)
        if self._around.forget_repository is not None:
            for name, part in self.report.by_repository.items():
                if part.manifests_removed:
                    await self._around.forget_repository(RepositoryName(name))
