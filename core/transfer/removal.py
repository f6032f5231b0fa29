"""Follows deletions: removes from one repository of the target what the source has no more."""

from core import layout
from core.errors import TagInvalidError
from core.names import RepositoryName, Tag
from core.transfer.blobs import Work
from core.transfer.comparison import Comparison, Differences
from core.transfer.target import Target
from core.transfer.tasks import for_each, stream


class Removal:
    """Removes links and tags, never data: what nobody links any more, garbage collection takes.

    Nothing is removed on the word of a listing alone: the source is asked for each thing once more.
    """

    def __init__(self, work: Work, comparison: Comparison, target: Target) -> None:
        self._work = work
        self._target = target
        self._comparison = comparison

    async def remove(self, name: RepositoryName, found: Differences) -> None:
        """Remove what the target has beyond the source: tags, then manifests, referrer links, layer links.

        A tag goes before its manifest, and a manifest before its layers, so that the target is sound at every moment.
        """
        prefix = layout.tags(name)
        await for_each(lambda tag: self._tag(name, tag), stream(sorted(_deleted_tags(found))))
        history = [key for key in found.extra_tags if not key.endswith("/current/link")]
        await self._links(prefix, history)
        await self._links(layout.revisions(name), found.extra_revisions)
        await self._links(layout.subjects(name), found.extra_referrers)
        await self._links(layout.layers(name), found.present_layers)

    async def _tag(self, name: RepositoryName, tag: Tag) -> None:
        link = layout.tag_current_link(name, tag)
        if await self._comparison.read(self._work.source, link) is None:
            await self._target.delete_tree(layout.tag(name, tag))
            self._work.tally.add(deleted=1)

    async def _links(self, prefix: str, keys: "set[str] | list[str]") -> None:
        async def remove(key: str) -> None:
            link = f"{prefix}/{key}"
            if await self._comparison.read(self._work.source, link) is None:
                await self._target.delete(link)
                self._work.tally.add(deleted=1)

        # In descending order a manifest's signatures come before the manifest itself, as in a deleted tree.
        await for_each(remove, stream(sorted(keys, reverse=True)))


def count_extra(found: Differences) -> int:
    """Return how many links and tags the target has beyond the source."""
    return (
        len(_deleted_tags(found)) + len(found.extra_revisions) + len(found.extra_referrers) + len(found.present_layers)
    )


def _deleted_tags(found: Differences) -> set[Tag]:
    """Return the tags that the target alone has."""
    tags: set[Tag] = set()
    for key in found.extra_tags:
        name, _, rest = key.partition("/")
        if rest != "current/link":
            continue
        try:
            tags.add(Tag(name))
        except TagInvalidError:
            # Nobody's tag; the key goes with nothing.
            continue
    return tags
