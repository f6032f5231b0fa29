"""The history of a tag: who pushed, moved, deleted or restored it, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.model.digest import Digest
from core.model.names import Tag
from core.summaries.changes import ChangeKind
from core.summaries.history import HistoryEntry
from core.summaries.tag_history import HistoryQuery, marker
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit

_PAGE_SIZE: Final = 50
"""Each entry may cost a request, which finds out whether the manifest still exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An entry as the page shows it."""

    entry: HistoryEntry
    change: str
    """`push`, `move`, `delete` or `restore`."""
    before: Digest | None
    """The manifest that the tag pointed at before a move."""
    is_held: bool
    """Whether the repository still has the manifest."""


class HistoryViews:
    """Shows the history of tags."""

    def __init__(self, parts: SiteParts) -> None:
        self._registry = parts.registry

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.HISTORY, "GET"): self.show}

    async def show(self, visit: Visit) -> Answer:
        """Show the changes of a tag, newest first; without a tag, ask for one.

        Costs the requests of `HistoryService.page`, and one for each manifest of the page.
        """
        name = visit.require_pull()
        self._registry.tags.require_listable(name)
        if not visit.location.reference:
            if visit.query("tag"):
                return Moved(location=Location(Page.HISTORY, name, Tag(visit.query("tag").strip())))
            return Shown(template="history-of.html", values={"name": name})
        tag = Tag(visit.location.reference)
        # One entry more than the page shows: the manifest before the oldest entry decides whether that was a move.
        history = self._registry.history
        page = await history.page(name, tag, HistoryQuery(n=_PAGE_SIZE + 1, last=visit.query("last")))
        shown = page.items[:_PAGE_SIZE]
        has_more = len(page.items) > _PAGE_SIZE
        values = {
            "name": name,
            "tag": tag,
            "rows": _rows(page.items, await history.held(name, shown))[:_PAGE_SIZE],
            "following": marker(shown[-1]) if has_more else None,
            "is_first": not visit.query("last"),
        }
        return Shown(template="history.html", values=values)


def _rows(entries: Sequence[HistoryEntry], held: frozenset[Digest]) -> Sequence[_Row]:
    rows = []
    for index, entry in enumerate(entries):
        older = entries[index + 1] if index + 1 < len(entries) else None
        before = older.digest if older is not None and older.is_creation else None
        is_move = entry.kind is ChangeKind.PUSH and before not in {None, entry.digest}
        rows.append(
            _Row(
                entry=entry,
                change="move" if is_move else str(entry.kind),
                before=before if is_move else None,
                is_held=entry.digest in held,
            )
        )
    return rows
