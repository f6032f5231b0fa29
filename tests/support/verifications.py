"""Verification of a test's storage, with no time passing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.coordination.budget import Budget, Rates
from core.model.digest import Digest
from core.ports.catalog_index import CatalogIndex
from core.registry.catalog import CatalogService
from core.summaries.changes import ChangeRecorder
from core.trash.store import Trash
from core.verification.findings import Finding, Kind
from core.verification.journal import Checkpoint
from core.verification.rules import VerificationOptions, VerificationRules
from core.verification.verifier import VerificationProgress, Verifier, VerifierParts
from tests.support.core_services import NOW, CoreServices, in_turn

OPTIONS = VerificationOptions(settle_seconds=0, grace=timedelta(0))
REPAIR = VerificationOptions(settle_seconds=0, grace=timedelta(0), repair=True)


@dataclass
class Verifications:
    """Verifies the content stored by `services`, any number of times."""

    services: CoreServices
    index: CatalogIndex = field(default_factory=InMemoryCatalogIndex)
    rules: VerificationRules = field(default_factory=VerificationRules)
    before_second_look: Callable[[], object] = lambda: None
    """Called while the verifier waits before it rechecks a suspect; may return an awaitable."""
    changes: ChangeRecorder | None = None
    announced: list[Digest] = field(default_factory=list)
    progress: list[VerificationProgress] = field(default_factory=list)
    counted: Checkpoint = field(default_factory=Checkpoint)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.catalog = CatalogService(self.index, storage=self.services.storage)
        self.trash = Trash(self.services.storage, now=lambda: NOW, new_id=self.services.new_id, keep=timedelta(days=7))

    async def run(self, options: VerificationOptions = OPTIONS) -> list[Finding]:
        """Verify, and return the findings."""
        found: list[Finding] = []
        self.counted = await self.verifier().run(options, on_finding=found.append, on_progress=self.progress.append)
        return found

    async def kinds(self, options: VerificationOptions = OPTIONS) -> list[Kind]:
        """Verify, and return only the kinds of the findings, sorted."""
        return sorted(finding.kind for finding in await self.run(options))

    def verifier(self) -> Verifier:
        """Return a verifier of the store."""
        parts = VerifierParts(
            storage=self.services.storage,
            links=self.services.links,
            index=self.index,
            trash=self.trash,
            rules=self.rules,
            new_hasher=self.services.new_hasher,
            offload=in_turn,
            clock=self._clock,
            sleep=self._sleep,
            rebuild_catalog=self.catalog.rebuild,
            announce=self._announce,
            changes=self.changes,
        )
        return Verifier(parts, budget=Budget(Rates(), clock=self._clock, sleep=self._sleep))

    def _clock(self) -> float:
        return self.seconds

    async def _sleep(self, _seconds: float) -> None:
        meanwhile = self.before_second_look()
        if hasattr(meanwhile, "__await__"):
            await meanwhile

    async def _announce(self, digests: Sequence[Digest]) -> None:
        self.announced += digests
