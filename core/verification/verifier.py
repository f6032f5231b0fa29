"""A complete verification: its phases in order, its checkpoints and its reports."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from core.content_source import Offload
from core.coordination.budget import Budget
from core.model.digest import Digest, HasherFactory
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.store.clock import StoreClock
from core.store.damage import DamageRecords
from core.store.links import Links
from core.summaries.changes import ChangeKind, ChangeRecorder
from core.trash.store import Trash
from core.verification.catalog import CatalogComparison
from core.verification.context import Context
from core.verification.data import DataCheck
from core.verification.digest_table import DigestTable
from core.verification.findings import Confirmer, Finding, Step, VerificationPhase
from core.verification.journal import Checkpoint, Journal
from core.verification.orphans import LINKED_MAX, OrphanSearch
from core.verification.reading import StoreReader
from core.verification.repairs import REPAIRED_BY, Announce, Repairer
from core.verification.repository import RepositoriesCheck
from core.verification.rules import VerificationOptions, VerificationRules

CHECKPOINT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationProgress:
    """Progress of a verification."""

    phase: VerificationPhase
    fraction: float | None
    """The completed fraction of the phase, if known."""
    counted: Checkpoint
    is_resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierParts:
    """The parts of all verifications of one process."""

    storage: BlobStorage
    """The store to verify; servers may use it."""
    links: Links
    """Reads and writes links in the store."""
    index: CatalogIndex
    """The catalog index to compare."""
    trash: Trash
    """Receives the links and data that repairs remove."""
    rules: VerificationRules
    """The registry's configuration for manifests and tags."""
    new_hasher: HasherFactory
    offload: Offload
    """Runs hashing off the event loop."""
    clock: Callable[[], float]
    """Monotonic seconds, for the time between checkpoints."""
    sleep: Callable[[float], Awaitable[None]]
    """Suspends the task before a second check."""
    rebuild_catalog: Callable[[], Awaitable[int]]
    """Fills the index from storage."""
    announce: Announce
    """Announces to servers that blobs were removed."""
    changes: ChangeRecorder | None = None
    """Records which repositories were repaired; None if changes are not recorded."""
    store_clock: StoreClock | None = None
    """The clock of the process. Without it, clock jumps are known only from the records in the store."""


class Verifier:
    """Verifies a store. One instance per verification.

    Args:
        parts: the parts that all verifications share.
        budget: limits requests and bytes per second.
    """

    def __init__(self, parts: VerifierParts, *, budget: Budget) -> None:
        storage = parts.storage
        self._storage = storage
        self._store_clock = parts.store_clock or StoreClock(storage)
        self._index = parts.index
        self._rules = parts.rules
        self._changes = parts.changes
        self._clock = parts.clock
        self._sleep = parts.sleep
        self._rebuild_catalog = parts.rebuild_catalog
        self._reader = StoreReader(storage, budget, new_hasher=parts.new_hasher, offload=parts.offload)
        self._repairer = Repairer(storage, parts.links, self._reader, parts.trash, announce=parts.announce)

    async def run(
        self,
        options: VerificationOptions,
        *,
        on_finding: Callable[[Finding], None],
        on_progress: Callable[[VerificationProgress], None],
    ) -> Checkpoint:
        """Verify the store and return the counts. Continues a killed verification with the same options.

        `on_finding` is called with every finding, first with those of the earlier run. A finding may be repeated.

        Raises:
            StorageUnavailableError: the store does not respond. The progress is saved.
        """
        journal = Journal(self._storage, options.scope)
        done = None if options.restart else await journal.load()
        if done is None:
            await journal.clear()
        run = _Run(options, await self.context(options), journal, done or Checkpoint(), on_finding, on_progress)
        await run.load_findings(is_resumed=done is not None)
        for phase in run.phases():
            await self._run_phase(phase, run)
        if options.repository is None:
            await journal.finish(run.counted)
        else:
            await journal.clear()
        return run.counted

    async def _run_phase(self, phase: VerificationPhase, run: "_Run") -> None:
        run.begin(phase)
        saved_at = self._clock()
        async with aclosing(self._steps(phase, run)) as steps:
            async for step in steps:
                run.count(step)
                if step.findings or self._clock() - saved_at >= CHECKPOINT_SECONDS:
                    await run.journal.save(run.counted, step.findings)
                    saved_at = self._clock()
                run.report(step)

    def _steps(self, phase: VerificationPhase, run: "_Run") -> AsyncGenerator[Step, None]:
        after, name = run.counted.cursor, run.options.repository
        if phase is VerificationPhase.DATA:
            check = DataCheck(run.context, DamageRecords(self._storage), fast=run.options.fast)
            return check.steps(after=after) if name is None else check.linked_steps(name, after=after)
        if phase is VerificationPhase.ORPHANS:
            return OrphanSearch(run.context, blobs=run.counted.blobs).steps(after=after)
        comparison = CatalogComparison(self._index, run.context, rebuild=self._rebuild_catalog, after=after)
        repositories = RepositoriesCheck(run.context, comparison)
        return repositories.steps(after=after) if name is None else repositories.one(name)

    async def context(self, options: VerificationOptions) -> Context:
        """Return what the checks of one run share."""
        return Context(
            reader=self._reader,
            confirmer=Confirmer(self._sleep, repairs=options.repair, settle_seconds=options.settle_seconds),
            repairer=self._repairer,
            rules=self._rules,
            timeline=await self._store_clock.look(),
            grace=options.grace,
            forget_after=options.forget_after,
            inventory=DigestTable(LINKED_MAX),
            record_repair=self._record_repair,
        )

    async def _record_repair(self, name: RepositoryName) -> None:
        """Record that a repository changed, for its lists and for searches."""
        if self._changes is not None:
            await self._changes.record(ChangeKind.OTHER, name, by=REPAIRED_BY)


@dataclass(slots=True)
class _Run:
    """State of one call of `Verifier.run`."""

    options: VerificationOptions
    context: Context
    journal: Journal
    counted: Checkpoint
    on_finding: Callable[[Finding], None]
    on_progress: Callable[[VerificationProgress], None]

    async def load_findings(self, *, is_resumed: bool) -> None:
        """Load and report the findings of the earlier run."""
        async for finding in self.journal.findings(self.counted):
            if finding.is_damaged_data:
                self.context.damaged.add(Digest(finding.digest))
            self.on_finding(finding)
        self.on_progress(
            VerificationProgress(
                phase=self.counted.phase, fraction=None, counted=replace(self.counted), is_resumed=is_resumed
            )
        )

    def phases(self) -> list[VerificationPhase]:
        """Return the remaining phases. A single repository has no orphan phase."""
        phases = [
            phase
            for phase in VerificationPhase
            if self.options.repository is None or phase is not VerificationPhase.ORPHANS
        ]
        return phases[phases.index(self.counted.phase) :]

    def begin(self, phase: VerificationPhase) -> None:
        """Start a phase from its beginning, unless this phase was interrupted."""
        if phase is not self.counted.phase:
            self.counted.phase, self.counted.cursor = phase, ""

    def count(self, step: Step) -> None:
        """Add a step to the counts."""
        counted = self.counted
        counted.cursor = step.cursor
        counted.blobs += step.blobs
        counted.blob_bytes += step.blob_bytes
        counted.repositories += step.repositories
        counted.manifests += step.manifests
        damage = [finding for finding in step.findings if finding.is_damage]
        counted.damage += len(damage)
        counted.left += sum(finding.is_left for finding in damage)
        counted.notes += len(step.findings) - len(damage)

    def report(self, step: Step) -> None:
        """Report a step whose findings are saved."""
        for finding in step.findings:
            self.on_finding(finding)
        self.on_progress(
            VerificationProgress(phase=self.counted.phase, fraction=step.fraction, counted=replace(self.counted))
        )
