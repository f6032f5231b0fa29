"""Deletion of tags and of whole repositories, after a confirmation, and its undoing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from core.errors import InvalidInputError
from core.model.access import Action, repository_access
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.audit_log import AuditAction
from core.summaries.views import RepositoryView
from entrypoints.http.actors import actor_of
from entrypoints.http.keys import AUDIT_ACTION, AUDIT_TAGS, TARGET
from entrypoints.http.routes import Resource, Right, Target
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Location, Page
from entrypoints.web.visits import Answer, Moved, Shown, View, Visit

_TAGS_MAX: Final = 1_000
"""Maximum number of tags of one deletion."""
_OTHERS_SHOWN: Final = 5
_SEPARATOR: Final = "@"
"""Between a tag and its digest in the form of the confirmation; no tag contains it."""


class DeletingViews:
    """Deletes tags and repositories, and undoes it."""

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._registry = parts.registry

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {
            (Page.DELETE, "GET"): self.ask,
            (Page.DELETE, "POST"): self.delete,
            (Page.RESTORE, "POST"): self.restore,
        }

    async def ask(self, visit: Visit) -> Answer:
        """Show the effect of a deletion. Costs a view of the repository, or the listings of a whole repository."""
        name = await self._require(visit)
        if visit.query("all"):
            return await self._ask_for_repository(visit, name)
        return await self._ask_for_tags(name, _tags(visit.request.query.getall("tag", [])))

    async def delete(self, visit: Visit) -> Answer:
        """Delete the confirmed tags, or the repository; ask for a confirmation of tags that the list sends.

        Deletes a tag only if it still points at the manifest that the confirmation showed.
        """
        confirmed = visit.form.get("confirmed", ())
        is_repository = bool(visit.field("all"))
        if not (confirmed or is_repository):
            name = await self._require(visit)
            return await self._ask_for_tags(name, _tags(visit.form.get("tag", ())))
        targets = _targets(confirmed)
        action = AuditAction.REPOSITORY_DELETE if is_repository else AuditAction.TAG_DELETE
        resource = Resource.REPOSITORY if is_repository else Resource.MANIFEST
        _note(visit, action, Target(resource, visit.location.name), tuple(targets))
        name = await self._require(visit)
        await self._parts.auditor.ask(visit.request)
        by = actor_of(visit.request, self._parts.urls)
        if is_repository:
            removal = await self._registry.delete_repository(name, by=by)
            return _back(name, {"done": "repository", "done-entry": removal.entry})
        removed = await self._registry.delete_tags(name, targets, by=by)
        left = len(targets) - len(removed.tags)
        counts = {"done-count": len(removed.tags), "done-left": left or None}
        return _back(name, {"done": "deleted", "done-entry": removed.entry, **counts})

    async def restore(self, visit: Visit) -> Answer:
        """Restore an entry of the repository's trash."""
        entry = visit.field("entry")
        target = Target(Resource.REPOSITORY_TRASH_ENTRY, visit.location.name, entry)
        _note(visit, AuditAction.TRASH_RESTORE, target)
        name = visit.require_pull()
        visit.require(*repository_access(name, Action.PULL, Action.PUSH))
        self._parts.origins.require_local(name)
        await self._parts.flags.require(Right.WRITE)
        await self._parts.auditor.ask(visit.request)
        by = actor_of(visit.request, self._parts.urls)
        restoration = await self._registry.restore(entry, by=by, repository=name)
        return _back(name, {"done": "restored", "done-count": len(restoration.tags)})

    async def _require(self, visit: Visit) -> RepositoryName:
        name = visit.require_pull()
        visit.require(*repository_access(name, Action.DELETE))
        self._parts.origins.require_local(name)
        await self._parts.flags.require(Right.DELETE)
        return name

    async def _ask_for_tags(self, name: RepositoryName, tags: Sequence[Tag]) -> Answer:
        view = await self._registry.summaries.view(name)
        present = [tag for tag in tags if tag in view.tags]
        if not present:
            return _back(name, {"done": "gone" if tags else "none"})
        kept = [tag for tag in present if self._registry.tag_lists.is_immutable(name, tag)]
        going = [tag for tag in present if tag not in kept]
        values = {
            "name": name,
            "going": [_going(view, tag, frozenset(going)) for tag in going],
            "kept": kept,
            "until": self._until(),
        }
        return Shown(template="delete-tags.html", values=values)

    async def _ask_for_repository(self, visit: Visit, name: RepositoryName) -> Answer:
        by = actor_of(visit.request, self._parts.urls)
        removal = await self._registry.delete_repository(name, by=by, dry_run=True)
        values = {"name": name, "removal": removal, "until": self._until()}
        return Shown(template="delete-repository.html", values=values)

    def _until(self) -> datetime | None:
        """Return until when a deletion can be undone; None if it cannot."""
        keep = self._registry.trash.keep
        return self._parts.now() + keep if keep else None


def _going(view: RepositoryView, tag: Tag, going: frozenset[Tag]) -> dict[str, Any]:
    digest = view.tags[tag].digest
    others = [other for other, state in view.tags.items() if state.digest == digest and other not in going]
    return {
        "tag": tag,
        "state": view.tags[tag],
        "value": f"{tag}{_SEPARATOR}{digest}",
        "others": others[:_OTHERS_SHOWN],
        "more": max(0, len(others) - _OTHERS_SHOWN),
    }


def _tags(texts: Sequence[str]) -> Sequence[Tag]:
    _require_few(texts)
    return list(dict.fromkeys(map(Tag, texts)))


def _targets(texts: Sequence[str]) -> Mapping[Tag, Digest]:
    _require_few(texts)
    targets: dict[Tag, Digest] = {}
    for text in texts:
        tag, _, digest = text.partition(_SEPARATOR)
        targets[Tag(tag)] = Digest(digest)
    return targets


def _require_few(texts: Sequence[str]) -> None:
    if len(texts) > _TAGS_MAX:
        raise InvalidInputError(f"at most {_TAGS_MAX} tags can be deleted at once")


def _note(visit: Visit, action: AuditAction, target: Target, tags: tuple[str, ...] = ()) -> None:
    """Describe the request for the audit log, before anything is decided: a refusal is recorded too."""
    visit.request[AUDIT_ACTION] = action
    visit.request[TARGET] = target
    if tags:
        visit.request[AUDIT_TAGS] = tags


def _back(name: RepositoryName, query: Mapping[str, str | int | None]) -> Moved:
    return Moved(location=Location(Page.REPOSITORY, name), query=query)
