"""Check of a repository's tags: each tag, and each entry of its history, points to a manifest of the repository."""

from contextlib import aclosing
from dataclasses import dataclass, field

from core.concurrency import map_bounded
from core.errors import DigestInvalidError, TagInvalidError
from core.model.digest import Digest
from core.model.names import Tag, just_before
from core.model.schema1 import is_schema1
from core.store import layout
from core.store.links import RemovedLink
from core.verification.context import Context, RepositoryView
from core.verification.findings import Finding, Kind, Outcome, Suspect
from core.verification.suspects import suspect_leftover


@dataclass(slots=True)
class _TagObjects:
    """The objects of one tag in a listing."""

    has_current: bool = False
    history: list[Digest] = field(default_factory=list)


class TagCheck:
    """Checks every tag of a repository. Call `find` before the manifests are known, `run` afterwards."""

    def __init__(self, context: Context, view: RepositoryView) -> None:
        self._context = context
        self._view = view
        self._objects: dict[Tag, _TagObjects] = {}
        self._strays: list[str] = []

    async def find(self) -> None:
        """Read all tags. Two listings, and one request per tag."""
        prefix = f"{layout.tags(self._view.name)}/"
        async for key, _ in self._context.reader.walk(prefix.rstrip("/")):
            self._note(key, key.removeprefix(prefix).split("/"))
        async for child in self._context.reader.children(prefix.rstrip("/")):
            # A power cut may leave a tag's folder without a link. Such a tag is listed all the same.
            if (tag := _as_tag(child)) is not None:
                self._objects.setdefault(tag, _TagObjects())

        async def target(tag: Tag) -> Digest | None:
            return (await self._context.reader.link(layout.tag_current_link(self._view.name, tag))).target

        tags = [tag for tag, objects in self._objects.items() if objects.has_current]
        for tag, digest in zip(tags, await map_bounded(target, tags), strict=True):
            if digest is not None:
                self._view.tags[tag] = digest

    async def run(self) -> list[Suspect]:
        """Return the tags that may lack a manifest. The view must already contain the manifests."""
        suspects = [suspect_leftover(self._context, key) for key in self._strays]
        for tag, objects in self._objects.items():
            target = self._view.tags.get(tag)
            if target is None:
                suspects.append(self._suspect_untargeted(tag))
            elif not self._view.holds(target):
                suspects.append(self._suspect_without_manifest(tag))
            suspects += [
                self._suspect_history(tag, digest)
                for digest in objects.history
                if not self._view.holds(digest) and digest != target
            ]
        return suspects

    def _note(self, key: str, parts: list[str]) -> None:
        try:
            tag = Tag(parts[0])
            if key == layout.tag_current_link(self._view.name, tag):
                self._objects.setdefault(tag, _TagObjects()).has_current = True
                return
            digest = Digest(f"{parts[-3]}:{parts[-2]}")
        except (TagInvalidError, DigestInvalidError, IndexError):
            self._strays.append(key)
            return
        if key == layout.tag_index_link(self._view.name, tag, digest):
            self._objects.setdefault(tag, _TagObjects()).history.append(digest)
        else:
            self._strays.append(key)

    def _suspect_untargeted(self, tag: Tag) -> Suspect:
        """Return a listed tag that may point to nothing: its link is broken or missing."""
        name, reader = self._view.name, self._context.reader
        key = layout.tag_current_link(name, tag)

        async def recheck() -> Finding | None:
            state = await reader.link(key)
            live = await self._live_history(tag)
            if state.target is not None or (not state.is_there and not await self._is_listed(tag)):
                return None
            what = "tag link contains no digest" if state.is_there else "tag is listed but has no link"
            return Finding(
                kind=Kind.BROKEN_LINK if state.is_there else Kind.TAG_WITHOUT_TARGET,
                key=key,
                repository=name,
                images=(f"{name}:{tag}",),
                detail=f"{what}; remaining manifests of its history: {', '.join(live) or 'none'}",
            )

        async def repair() -> Outcome | None:
            live = await self._live_history(tag)
            if (await reader.link(key)).target is not None:
                return None
            if len(live) == 1:
                # `point_tag` keeps the link of a concurrent push, which is more recent.
                return await self._context.repairer.point_tag(name, tag, live[0])
            if live or self._context.rules.is_immutable(name, tag):
                return Outcome.NEEDS_PUSH
            return await self._remove(tag)

        return Suspect(recheck, repair)

    def _suspect_without_manifest(self, tag: Tag) -> Suspect:
        name = self._view.name
        key = layout.tag_current_link(name, tag)

        async def recheck() -> Finding | None:
            # Read the tag again, since it may have moved. Then check the manifest, then the tag once more: deletes
            # remove tags first.
            target = (await self._context.reader.link(key)).target
            if target is None or await self._can_be_read(target):
                return None
            if (await self._context.reader.link(key)).target != target:
                return None
            return Finding(
                kind=Kind.TAG_WITHOUT_MANIFEST,
                key=key,
                repository=name,
                digest=target,
                images=(f"{name}:{tag}",),
                detail=f"points to {target}, which the repository does not hold",
            )

        async def repair() -> Outcome | None:
            if self._context.rules.is_immutable(name, tag):
                # If an immutable tag were removed, another image could be pushed under it.
                return Outcome.NEEDS_PUSH
            finding = await recheck()
            if finding is None:
                return None
            if await self._is_sound(Digest(finding.digest)):
                # Another registry deleted the manifest but not the tag, or the link was lost. An operator decides.
                return Outcome.NEEDS_PUSH
            return await self._remove(tag)

        return Suspect(recheck, repair)

    def _suspect_history(self, tag: Tag, digest: Digest) -> Suspect:
        name = self._view.name
        key = layout.tag_index_link(name, tag, digest)

        async def recheck() -> Finding | None:
            if await self._can_be_read(digest) or not (await self._context.reader.link(key)).is_there:
                return None
            current = (await self._context.reader.link(layout.tag_current_link(name, tag))).target
            if current in {None, digest}:
                # A tag without a valid target has a finding of its own, and its repair may need the history.
                return None
            return Finding(
                kind=Kind.HISTORY_STALE,
                key=key,
                repository=name,
                digest=digest,
                detail=f"in the history of tag {tag}, but not held by the repository",
            )

        async def is_wanted() -> bool:
            return await self._is_held(digest)

        async def repair() -> Outcome | None:
            return await self._context.repairer.remove_link(key, digest, is_wanted=is_wanted)

        return Suspect(recheck, repair)

    async def _is_held(self, digest: Digest) -> bool:
        link = layout.revision_link(self._view.name, digest)
        return digest in self._view.set_aside or (await self._context.reader.link(link)).is_there

    async def _is_sound(self, digest: Digest) -> bool:
        return not (await self._context.reader.manifest(digest)).is_opaque

    async def _can_be_read(self, digest: Digest) -> bool:
        return await self._is_held(digest) or await self._is_among_layers(digest)

    async def _is_among_layers(self, digest: Digest) -> bool:
        """Whether this is a schema 1 manifest that registry 2.1.0 linked as a layer. Servers find such a manifest."""
        if not (await self._context.reader.link(layout.layer_link(self._view.name, digest))).is_there:
            return False
        return is_schema1((await self._context.reader.manifest(digest)).content)

    async def _is_listed(self, tag: Tag) -> bool:
        async with aclosing(
            self._context.reader.children(layout.tags(self._view.name), after=just_before(tag))
        ) as names:
            return await anext(names, None) == tag

    async def _live_history(self, tag: Tag) -> list[Digest]:
        """Return the manifests in a tag's history that the repository still holds."""
        history = self._objects[tag].history
        held = await map_bounded(self._is_held, history)
        return sorted(digest for digest, is_held in zip(history, held, strict=True) if is_held)

    async def _remove(self, tag: Tag) -> Outcome:
        name, objects = self._view.name, self._objects[tag]
        links = [RemovedLink(layout.tag_index_link(name, tag, digest), digest) for digest in objects.history]
        if target := self._view.tags.pop(tag, None):
            links.append(RemovedLink(layout.tag_current_link(name, tag), target))
        if not links and not objects.has_current:
            return await self._context.repairer.remove_empty_tag(layout.tag(name, tag))
        return await self._context.repairer.remove_tag(links, layout.tag(name, tag))


def _as_tag(name: str) -> Tag | None:
    try:
        return Tag(name)
    except TagInvalidError:
        return None
