"""The lists, histories and summaries of a registry, built with their first use.

A server whose clients only push and pull never imports the modules behind them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.model.names import RepositoryName

if TYPE_CHECKING:
    from core.summaries.repository_list import RepositoryLists
    from core.summaries.service import SummaryService
    from core.summaries.tag_history import HistoryService
    from core.summaries.tag_list import TagLists


@dataclass(frozen=True, slots=True, kw_only=True)
class ListServices:
    """The services behind lists; one of each per process."""

    summaries: "SummaryService"
    history: "HistoryService"
    tag_lists: "TagLists"
    repository_lists: "RepositoryLists"


class Lists:
    """Gives the services behind lists; one per process.

    Args:
        build: builds them.
    """

    def __init__(self, build: Callable[[], ListServices]) -> None:
        self._build = build
        self._services: ListServices | None = None

    @property
    def services(self) -> ListServices:
        """The services, which the first access builds."""
        self._services = self._services or self._build()
        return self._services

    def note(self, name: RepositoryName) -> None:
        """Note that this process changed a repository without a record; unused lists have read nothing."""
        if self._services is not None:
            self._services.repository_lists.note(name)
