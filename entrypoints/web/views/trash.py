"""The trash: the deleted content of the registry or of one repository, its restoration, and its permanent removal."""

from collections.abc import Mapping, Sequence
from typing import Final

from core.errors import BlobUnknownError, DeniedError, ManifestUnknownError, NameUnknownError
from core.model.access import ADMINISTRATION, Action, repository_access
from core.model.names import RepositoryName
from core.ports.audit_log import AuditAction
from core.restoration.service import Restoration
from entrypoints.http.actors import actor_of
from entrypoints.http.errors import render
from entrypoints.http.keys import AUDIT_ACTION, TARGET
from entrypoints.http.routes import Resource, Right, Target
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit

_PAGE_SIZE: Final = 50
TAGS_SHOWN: Final = 10
"""Number of tags that are shown of one entry."""
_NAMED_MAX: Final = 20
"""Number of restored tags that are named after a restoration."""


class TrashViews:
    """Lists, restores and removes what was deleted."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._trash = parts.registry.trash

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {
            (Page.TRASH, "GET"): self.show,
            (Page.TRASH_ENTRY, "GET"): self.confirm,
            (Page.TRASH_ENTRY, "POST"): self.change,
            (Page.REPOSITORY_TRASH, "GET"): self.show_repository,
            (Page.REPOSITORY_TRASH, "POST"): self.restore,
        }

    async def show(self, visit: Visit) -> Answer:
        """Show a page of the whole trash, or of one repository, for operators (see `newest_of` for the cost)."""
        visit.require(ADMINISTRATION)
        wanted = visit.query("repository").strip()
        return await self._list(visit, RepositoryName.parse(wanted) if wanted else None, wanted=wanted)

    async def show_repository(self, visit: Visit) -> Answer:
        """Show what was deleted from a repository, for the users who may push there (see `newest_of` for the cost).

        The page exists whether the repository does or not, because a deleted repository can be restored, too.
        """
        return await self._list(visit, _require_push(visit))

    async def confirm(self, visit: Visit) -> Answer:
        """Ask whether an entry is to be removed for good. At most four storage requests."""
        visit.require(ADMINISTRATION)
        await self._parts.flags.require(Right.DELETE)
        removal = await self._trash.removal(visit.location.reference)
        values = {"removal": removal, "expires_at": self._trash.expires_at(removal.entry), "tags_shown": TAGS_SHOWN}
        return Shown(template="trash-remove.html", values=values)

    async def change(self, visit: Visit) -> Answer:
        """Restore an entry, or remove it for good, for operators."""
        entry = visit.location.reference
        is_removal = visit.field("action") == "remove"
        visit.request[AUDIT_ACTION] = AuditAction.TRASH_DELETE if is_removal else AuditAction.TRASH_RESTORE
        visit.request[TARGET] = Target(Resource.TRASH_ENTRY, reference=entry)
        visit.require(ADMINISTRATION)
        if not is_removal:
            return await self._restore(visit, None)
        await self._parts.flags.require(Right.DELETE)
        await self._parts.auditor.ask(visit.request)
        summary = await self._trash.discard(entry)
        query = {"removed": "yes", "bytes": summary.blob_bytes or None}
        return Moved(location=Location(Page.TRASH), query=query)

    async def restore(self, visit: Visit) -> Answer:
        """Restore an entry of a repository, for the users who may push there."""
        name, entry = visit.location.name, visit.location.reference
        visit.request[AUDIT_ACTION] = AuditAction.TRASH_RESTORE
        visit.request[TARGET] = Target(Resource.REPOSITORY_TRASH_ENTRY, name, entry)
        repository = _require_push(visit)
        self._parts.origins.require_local(repository)
        return await self._restore(visit, repository)

    async def _list(self, visit: Visit, name: RepositoryName | None, *, wanted: str = "") -> Answer:
        if visit.location.reference:
            raise NameUnknownError("no such page")
        is_invalid = bool(wanted) and name is None
        page = None
        if not is_invalid:
            last, before = visit.query("last"), visit.query("before")
            page = await self._trash.newest(n=_PAGE_SIZE, last=last, before=before, repository=name)
        values = {
            "page": page,
            "expires_at": self._trash.expires_at,
            "is_on": self._trash.is_on,
            "is_cached": bool(visit.location.name) and name is not None and self._parts.origins.is_cached(name),
            "is_invalid": is_invalid,
            "name": visit.location.name,
            "wanted": wanted,
            "tags_shown": TAGS_SHOWN,
            "result": _result(visit),
            "is_removed": bool(visit.query("removed")),
            "removed_bytes": visit.number("bytes"),
        }
        return Shown(template="trash.html", values=values)

    async def _restore(self, visit: Visit, name: RepositoryName | None) -> Answer:
        await self._parts.flags.require(Right.WRITE)
        await self._parts.auditor.ask(visit.request)
        is_forced = visit.field("force") == "yes"
        try:
            restoration = await self._parts.registry.restore(
                visit.location.reference,
                by=actor_of(visit.request, self._parts.urls),
                force=is_forced,
                repository=name,
            )
        except (DeniedError, BlobUnknownError, ManifestUnknownError) as error:
            # `render` returns the status of the API, and notes the error for the log.
            status = render(visit.request, error).status
            detail = error.detail if isinstance(error, DeniedError) else None
            return Shown(template="trash-refused.html", values={"tag": detail}, status=status)
        back = Location(Page.TRASH) if name is None else Location(Page.REPOSITORY_TRASH, name)
        return Moved(location=back, query=_report(restoration))


def _require_push(visit: Visit) -> RepositoryName:
    name = visit.require_pull()
    visit.require(*repository_access(name, Action.PUSH))
    return name


def _report(restoration: Restoration) -> Mapping[str, str | int | None]:
    """Return the result of a restoration as parameters of the page that shows it."""
    tags = [f"{name}:{tag}" for name, tag, _ in restoration.tags]
    return {
        "restored": ",".join((tags or list(restoration.repositories))[:_NAMED_MAX]) or "-",
        "tags": len(tags) or None,
        "manifests": restoration.manifests or None,
        "missing": len(restoration.missing) or None,
        "lost": len(restoration.lost) or None,
    }


def _result(visit: Visit) -> Mapping[str, object] | None:
    """Return the result in the address of the page, as far as it is well-formed."""
    text = visit.query("restored")
    if not text:
        return None
    return {
        "items": _named(text.split(",")[:_NAMED_MAX]),
        **{key: visit.number(key) for key in ("tags", "manifests", "missing", "lost")},
    }


def _named(texts: Sequence[str]) -> list[tuple[str, str]]:
    parted = [text.partition(":") for text in texts]
    return [(name, tag) for name, _, tag in parted if RepositoryName.parse(name)]
