"""Removal of content from one repository of the target that the source no longer has."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from core.concurrency import for_each, stream
from core.errors import TagInvalidError
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.store.links import RemovedLink, parse_link
from core.transfer.comparison import Comparison, Differences
from core.transfer.context import CopyContext
from core.trash.entry import TrashKind


@dataclass(slots=True, kw_only=True)
class _Doomed:
    """Content that the source does not have, confirmed by a second check."""

    tags: list[Tag] = field(default_factory=list)
    links: list[list[str]] = field(default_factory=list)
    """Groups of keys in the order of their removal. Within a group, a store may use any order."""
    recorded: list[RemovedLink] = field(default_factory=list)


class ExtraRemoval:
    """Removes links and tags, never data. Garbage collection removes data without links.

    A listing alone is not enough for a removal: each link is checked at the source once more. The removed links are
    recorded in the target's trash, in one entry for each repository.
    """

    def __init__(self, context: CopyContext, comparison: Comparison) -> None:
        self._context = context
        self._comparison = comparison
        self._trash = context.trash

    async def remove(self, name: RepositoryName, found: Differences) -> None:
        """Remove content that only the target has: tags, then manifests, referrer links, layer links.

        A tag is removed before its manifest, and a manifest before its layers, so that the target is always consistent.
        """
        doomed = _Doomed()
        deleted = _deleted_tags(found)
        await for_each(lambda tag: self._doom_tag(name, tag, doomed), stream(sorted(deleted)))
        history = [key for key in found.extra_tags if key.partition("/")[0] not in deleted and "/index/" in key]
        await self._doom_links(layout.tags(name), history, doomed, is_recorded=False)
        await self._doom_links(layout.revisions(name), found.extra_revisions, doomed)
        await self._doom_links(layout.all_referrers(name), found.extra_referrers, doomed)
        await self._doom_links(layout.layers(name), found.present_layers, doomed)
        count = len(doomed.tags) + sum(map(len, doomed.links))
        if count:
            await self._record(name, doomed)
        await for_each(lambda tag: self._context.delete_tree(layout.tag(name, tag)), stream(doomed.tags))
        for group in doomed.links:
            await self._context.delete(group)
        self._context.tally.add(deleted=count)

    async def _record(self, name: RepositoryName, doomed: _Doomed) -> None:
        if self._context.is_dry:
            return
        reason = "deleted at the source of a copy"
        entry = self._trash.new_entry(TrashKind.REPOSITORY, repository=name, by="registry copy", reason=reason)
        await self._trash.record(entry, links=doomed.recorded)

    async def _doom_tag(self, name: RepositoryName, tag: Tag, doomed: _Doomed) -> None:
        link = layout.tag_current_link(name, tag)
        if await self._is_gone(link):
            doomed.tags.append(tag)
            await self._remember(link, doomed)

    async def _doom_links(self, prefix: str, keys: Iterable[str], doomed: _Doomed, *, is_recorded: bool = True) -> None:
        gone: list[str] = []

        async def look(key: str) -> None:
            link = f"{prefix}/{key}"
            if await self._is_gone(link):
                gone.append(link)
                if is_recorded:
                    await self._remember(link, doomed)

        await for_each(look, stream(keys))
        doomed.links.append(sorted(gone, reverse=True))

    async def _is_gone(self, link: str) -> bool:
        return await self._comparison.read(self._context.source, link) is None

    async def _remember(self, link: str, doomed: _Doomed) -> None:
        content = await self._comparison.read(self._context.target, link)
        if content is not None and (digest := parse_link(content)) is not None:
            doomed.recorded.append(RemovedLink(link, digest))


def count_extra(found: Differences) -> int:
    """Return the number of links and tags that only the target has."""
    return (
        len(_deleted_tags(found)) + len(found.extra_revisions) + len(found.extra_referrers) + len(found.present_layers)
    )


def _deleted_tags(found: Differences) -> set[Tag]:
    """Return the tags that only the target has."""
    tags: set[Tag] = set()
    for key in found.extra_tags:
        name, _, rest = key.partition("/")
        if f"/{rest}" != layout.CURRENT_LINK:
            continue
        try:
            tags.add(Tag(name))
        except TagInvalidError:
            # Not a valid tag. This key is not removed.
            continue
    return tags
