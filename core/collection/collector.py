"""One run of garbage collection: mark, then remove in rounds, while clients push and pull."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from core.collection.candidates import Candidates
from core.collection.checkpoint import COUNTS, Checkpoints, Progress
from core.collection.listing import Lister
from core.collection.marking import Marker
from core.collection.marks import Marks
from core.collection.pins import Pins
from core.collection.recovery import Recovery, RoundWatch
from core.collection.removing import Remover
from core.collection.report import CollectionReport, Phase
from core.collection.rounds import Rounds
from core.collection.run import CollectionOptions, CollectorContext, Run
from core.concurrency import map_bounded
from core.coordination.budget import Budget
from core.coordination.paced_store import PacedStore
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
        self._options = options
        self._context = context
        self._rounds = Rounds(storage)
        self._pins = Pins(storage)
        self._store = PacedStore(storage, budget)
        self._lister = Lister(self._store, links)
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
        run = Run(
            store=self._store,
            trash=self._trash,
            cache=self._cache,
            lister=self._lister,
            marks=marks,
            report=self.report,
            young_after=young_after,
            options=self._options,
            context=self._context,
        )
        marker = Marker(run, pinned={} if self._options.is_offline else await self._pins.all())
        if not await self._mark(progress, marks, marker):
            return False
        candidates = Candidates(run)
        if self._options.is_dry_run:
            async for item in candidates.all():
                self.report.count_removal(item, 1)
            return True
        if not await Remover(run, marker).remove_all(candidates.all()):
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
