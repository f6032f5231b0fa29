"""Lists of what the trash holds: its entries, each with a summary of the removed items."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.concurrency import REQUESTS_AT_ONCE, closing, map_bounded
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.store.link_keys import RevisionKey, TagKey, parsed
from core.trash.entry import TrashEntry, TrashPart
from core.trash.store import Trash

PAGE_SIZE_MAX: Final = 100
"""Maximum number of entries on a page."""
_PARTS_MAX: Final = 4
"""Number of parts that a page reads of one entry, so that an entry with millions of items costs little."""
_PAGE_PARTS_MAX: Final = 100
"""Number of parts after which a page ends."""
TagOf = tuple[RepositoryName, Tag, Digest]
"""A tag of a repository, and the manifest that it pointed to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A trash entry with a summary of the items that it names."""

    entry: TrashEntry
    tags: tuple[TagOf, ...] = ()
    manifests: int = 0
    links: int = 0
    """All links, including those of tags and manifests."""
    blobs: int = 0
    blob_bytes: int = 0
    parts: int = 1
    """Number of parts that are included."""
    is_complete: bool = True
    """Whether all parts of the entry are included."""


async def page_of(trash: Trash, *, n: int | None, last: str, repository: RepositoryName | None = None) -> Page[Removal]:
    """Return a page of the trash, oldest first; only the entries of `repository` if it is given.

    Costs the listing of the entries after `last`, and about 100 reads. Entries of other repositories cost no read,
    except those that an older version recorded.

    Args:
        trash: the trash.
        n: the requested number of entries; None for the largest page.
        last: the last entry of the previous page, or the empty text.
        repository: the only repository whose entries are listed.
    """
    size = PAGE_SIZE_MAX if n is None else min(n, PAGE_SIZE_MAX)
    items: list[Removal] = []
    if not size:
        return Page(items=items)
    async with closing(_removals(trash, last, repository)) as removals:
        async for removal in removals:
            if len(items) == size or sum(item.parts for item in items) >= _PAGE_PARTS_MAX:
                return Page(items=items, has_more=True)
            items.append(removal)
    return Page(items=items)


async def _removals(trash: Trash, after: str, repository: RepositoryName | None) -> AsyncIterator[Removal]:
    async def read(listed: tuple[str, int]) -> Removal | None:
        return await _read(trash, *listed)

    async def found(some: Sequence[tuple[str, int]]) -> list[Removal]:
        removals = [removal for removal in await map_bounded(read, some) if removal is not None]
        return [removal for removal in removals if repository in {None, removal.entry.repository}]

    some: list[tuple[str, int]] = []
    async with closing(trash.listed(after=after, of=repository)) as entries:
        async for entry in entries:
            some.append(entry)
            if len(some) == REQUESTS_AT_ONCE:
                for removal in await found(some):
                    yield removal
                some = []
    for removal in await found(some):
        yield removal


async def _read(trash: Trash, name: str, count: int) -> Removal | None:
    removal: Removal | None = None
    for number in range(min(count, _PARTS_MAX)):
        part = await trash.part(name, number)
        if part is not None:
            removal = with_part(removal or Removal(entry=part.entry, parts=0), part)
    return removal and replace(removal, is_complete=removal.parts == count)


def with_part(removal: Removal, part: TrashPart) -> Removal:
    """Return a removal extended by the items of one more part."""
    keys = list(parsed({link.key: link.target for link in part.links}))
    tags = tuple((key.name, key.tag, target) for key, target in keys if isinstance(key, TagKey))
    return replace(
        removal,
        tags=tuple(sorted(removal.tags + tags)),
        manifests=removal.manifests + sum(isinstance(key, RevisionKey) for key, _ in keys),
        links=removal.links + len(part.links),
        blobs=removal.blobs + len(part.blobs),
        blob_bytes=removal.blob_bytes + part.blob_bytes,
        parts=removal.parts + 1,
    )
