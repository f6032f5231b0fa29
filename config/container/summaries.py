"""Construction of the summaries of repositories and the lists that show them, from the settings.

Their modules are imported with their first use.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from config.settings import Settings
from core.content_source import Offload
from core.coordination.read_only import ReadOnlySwitch
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.registry.catalog import CatalogService
from core.registry.referrers import ReferrerService
from core.retention.pulls import PullHistory
from core.store.tag_links import TagLinks
from core.summaries.changes import ChangeLog
from core.summaries.lists import Lists, ListServices

if TYPE_CHECKING:
    from core.summaries.folding import SummaryFolding
    from core.summaries.names import RepositoryNames


def make_lists(
    settings: Settings,
    *,
    storage: BlobStorage,
    tag_links: TagLinks,
    log: ChangeLog,
    read_only: ReadOnlySwitch,
    catalog: CatalogService,
    referrers: ReferrerService,
    is_immutable: Callable[[RepositoryName, Tag], bool],
    clock: Callable[[], float],
    now: Callable[[], datetime],
    offload: Offload,
) -> ListServices:
    """Return the services behind lists."""
    from core.summaries.repository_list import RepositoryLists  # noqa: PLC0415
    from core.summaries.service import SummaryService  # noqa: PLC0415
    from core.summaries.tag_history import HistoryService  # noqa: PLC0415
    from core.summaries.tag_list import TagLists  # noqa: PLC0415

    summaries = SummaryService(
        storage,
        tag_links,
        log=log,
        clock=clock,
        now=now,
        offload=offload,
        may_store=_storing(settings, read_only),
        is_recorded=settings.summaries.enabled,
    )
    return ListServices(
        summaries=summaries,
        history=HistoryService(storage, tag_links, log=log, summaries=summaries),
        tag_lists=TagLists(
            summaries,
            is_immutable=is_immutable,
            referrers=referrers.page,
            page_size_max=settings.tags.tags_max,
        ),
        repository_lists=RepositoryLists(
            summaries,
            catalog=catalog.page,
            names=_repository_names(settings, catalog, log, clock),
            page_size_max=settings.catalog.entries_max,
        ),
    )


def make_folding(
    settings: Settings,
    *,
    storage: BlobStorage,
    log: ChangeLog,
    lists: Lists,
    pulls: PullHistory,
    offload: Offload,
) -> "SummaryFolding":
    """Return the job that keeps the stored summaries current."""
    from core.summaries.folding import PULLS_KEPT, SummaryFolding  # noqa: PLC0415

    asked = [rule.pulled_within for rule in settings.retention.rules if rule.pulled_within is not None]
    return SummaryFolding(
        storage,
        log=log,
        summaries=lists.services.summaries,
        pulls=pulls,
        pulls_kept=max([PULLS_KEPT, *asked]),
        offload=offload,
    )


def _storing(settings: Settings, read_only: ReadOnlySwitch) -> Callable[[], bool]:
    """Return the function that decides whether a request may store summaries now."""
    may_ever = settings.summaries.enabled and not settings.storage.readonly_enabled
    return lambda: may_ever and not read_only.is_on


def _repository_names(
    settings: Settings, catalog: CatalogService, log: ChangeLog, clock: Callable[[], float]
) -> "RepositoryNames | None":
    """Return the names in memory; None if changes are not recorded, so that nothing shows their age."""
    from core.summaries.names import RepositoryNames  # noqa: PLC0415

    if not settings.summaries.enabled:
        return None
    return RepositoryNames(catalog.page, log=log, clock=clock, page_size_max=settings.catalog.entries_max)
