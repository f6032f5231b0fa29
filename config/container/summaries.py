"""Construction of the summaries of repositories, from the settings."""

from collections.abc import Callable

from config.settings import Settings
from core.content_source import Offload
from core.coordination.read_only import ReadOnlySwitch
from core.ports.blob_storage import BlobStorage
from core.registry.catalog import CatalogService
from core.retention.pulls import PullHistory
from core.summaries.changes import ChangeLog
from core.summaries.folding import PULLS_KEPT, SummaryFolding
from core.summaries.names import RepositoryNames
from core.summaries.service import SummaryService


def summary_storing(settings: Settings, read_only: ReadOnlySwitch) -> Callable[[], bool]:
    """Return the function that decides whether a request may store summaries now."""
    may_ever = settings.summaries.enabled and not settings.storage.readonly_enabled
    return lambda: may_ever and not read_only.is_on


def make_repository_names(
    settings: Settings, *, catalog: CatalogService, log: ChangeLog, clock: Callable[[], float]
) -> RepositoryNames | None:
    """Return the names in memory; None if changes are not recorded, so that nothing shows their age."""
    if not settings.summaries.enabled:
        return None
    return RepositoryNames(catalog.page, log=log, clock=clock, page_size_max=settings.catalog.entries_max)


def make_folding(
    settings: Settings,
    *,
    storage: BlobStorage,
    log: ChangeLog,
    summaries: SummaryService,
    pulls: PullHistory,
    offload: Offload,
) -> SummaryFolding:
    """Return the job that keeps the stored summaries current."""
    asked = [rule.pulled_within for rule in settings.retention.rules if rule.pulled_within is not None]
    return SummaryFolding(
        storage, log=log, summaries=summaries, pulls=pulls, pulls_kept=max([PULLS_KEPT, *asked]), offload=offload
    )
