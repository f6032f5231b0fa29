"""The history of a tag: who pushed, moved, deleted or restored it, and when; and the way back to an older manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import DigestInvalidError
from core.model.access import Action, repository_access
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.audit_log import AuditAction
from core.summaries.changes import ChangeKind
from core.summaries.history import HistoryEntry
from core.summaries.tag_history import HistoryQuery, marker
from entrypoints.http.actors import actor_of
from entrypoints.http.keys import AUDIT_ACTION, TARGET
from entrypoints.http.routes import Resource, Right, Target
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import DONE, Answer, Moved, Shown, View, Visit

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
    """Shows the history of tags, and points tags at older manifests again."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._registry = parts.registry

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.HISTORY, "GET"): self.show, (Page.HISTORY, "POST"): self.put_back}

    async def show(self, visit: Visit) -> Answer:
        """Show the changes of a tag, newest first; without a tag, ask for one.

        Costs the requests of `HistoryService.page`, one for the tag, and one for each manifest of the page.
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
        rows = _rows(page.items, await history.held(name, shown))[:_PAGE_SIZE]
        current = await self._registry.manifests.tag_target(name, tag)
        backs = self._backs(visit, name, tag, rows, current)
        back = _digest(visit.query("back"))
        values = {
            "name": name,
            "tag": tag,
            "rows": rows,
            "current": current,
            "backs": backs,
            "back": back if back in backs else None,
            "following": marker(shown[-1]) if len(page.items) > _PAGE_SIZE else None,
            "is_first": not visit.query("last"),
            "done": visit.query(DONE),
        }
        return Shown(template="history.html", values=values)

    async def put_back(self, visit: Visit) -> Answer:
        """Point a tag at an older manifest, if it still points at the manifest that the visitor saw."""
        visit.request[AUDIT_ACTION] = AuditAction.MANIFEST_PUSH
        visit.request[TARGET] = Target(Resource.MANIFEST, visit.location.name, visit.location.reference)
        name = visit.require_pull()
        visit.require(*repository_access(name, Action.PULL, Action.PUSH))
        self._parts.origins.require_local(name)
        await self._parts.flags.require(Right.WRITE)
        tag, digest = Tag(visit.location.reference), Digest(visit.field("digest"))
        location = Location(Page.HISTORY, name, tag)
        if await self._registry.manifests.tag_target(name, tag) != _digest(visit.field("current")):
            return Moved(location=location, query={DONE: "changed"})
        await self._parts.auditor.ask(visit.request)
        await self._registry.put_back(name, tag, digest, by=actor_of(visit.request, self._parts.urls))
        return Moved(location=location, query={DONE: "back"})

    def _backs(
        self, visit: Visit, name: RepositoryName, tag: Tag, rows: Sequence[_Row], current: Digest | None
    ) -> Mapping[Digest | None, int]:
        """Return the manifests of a page that the visitor may point the tag at, each with its first row."""
        is_open = self._parts.origins.find(name) is None and self._parts.flags.allows(Right.WRITE)
        is_kept = current is not None and self._registry.tag_lists.is_immutable(name, tag)
        if not is_open or is_kept or not visit.may(Action.PUSH, name):
            return {}
        found: dict[Digest | None, int] = {}
        for number, row in enumerate(rows):
            if row.is_held and row.entry.digest != current:
                found.setdefault(row.entry.digest, number)
        return found


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


def _digest(text: str) -> Digest | None:
    try:
        return Digest(text)
    except DigestInvalidError:
        return None
