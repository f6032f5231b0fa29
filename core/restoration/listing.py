"""Lists of what the trash holds: its entries, each with a summary of the removed items."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from core.concurrency import REQUESTS_AT_ONCE, closing, map_bounded
from core.errors import PaginationInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.store.link_keys import RevisionKey, TagKey, parsed
from core.trash.entry import TrashEntry, TrashPart, name_at, time_in
from core.trash.store import Trash

PAGE_SIZE_MAX: Final = 100
"""Maximum number of entries on a page."""
_PARTS_MAX: Final = 4
"""Number of parts that a page reads of one entry, so that an entry with millions of items costs little."""
_PAGE_PARTS_MAX: Final = 100
"""Number of parts after which a page ends."""
_SPANS: Final = (timedelta(hours=1), timedelta(hours=12), timedelta(days=4), None)
"""The times before a page of the newest entries in which its entries are searched, one after the other."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestRemovals:
    """A page of the trash, newest first."""

    items: Sequence[Removal]
    newer: str | None = None
    """The entry before which the previous page ends; None on the first page."""
    older: str | None = None
    """The entry after which the next page begins; None on the last page."""


async def newest_of(
    trash: Trash, *, n: int, last: str = "", before: str = "", repository: RepositoryName | None = None
) -> NewestRemovals:
    """Return a page of the trash, newest first; only the entries of `repository` if it is given.

    Names of entries begin with their time, so the page is searched in the last hour, then in longer times. Costs up to
    four listings, the last one of all entries, and at most four reads per entry of the page.

    Args:
        trash: the trash.
        n: maximum number of entries.
        last: `older` of the page before, or the empty text.
        before: `newer` of the page after, or the empty text.
        repository: the only repository whose entries are listed.

    Raises:
        PaginationInvalidError: `last` or `before` is not from a page.
    """
    if any(text and time_in(text) is None for text in (last, before)) or (last and before):
        raise PaginationInvalidError("last or before must be an entry of the trash")
    if before:
        page = await page_of(trash, n=n, last=before, repository=repository)
        if page.items:
            items = list(reversed(page.items))
            return NewestRemovals(
                items=items, newer=items[0].entry.id if page.has_more else None, older=items[-1].entry.id
            )
    names = await _latest(trash, n + 1, last, repository)
    shown = list(reversed(names))[:n]
    removals = await map_bounded(lambda listed: _read(trash, *listed), shown)
    return NewestRemovals(
        items=[found for found in removals if found is not None and repository in {None, found.entry.repository}],
        newer=shown[0][0] if last and shown else None,
        older=shown[-1][0] if len(names) > n else None,
    )


async def _latest(trash: Trash, number: int, last: str, repository: RepositoryName | None) -> Sequence[tuple[str, int]]:
    """Return the names and numbers of parts of the newest entries before `last`, oldest first."""
    end = time_in(last) or trash.now()
    found: deque[tuple[str, int]] = deque(maxlen=number)
    for span in _SPANS:
        found.clear()
        start = "" if span is None else name_at(end - span)
        async with closing(trash.listed(after=start, of=repository)) as entries:
            async for listed in entries:
                if last and listed[0] >= last:
                    break
                found.append(listed)
        if len(found) == number:
            break
    return found


async def removal_of(trash: Trash, name: str) -> Removal | None:
    """Return one entry, or None if there is none. At most four requests."""
    found = await _read(trash, name, _PARTS_MAX)
    return found and replace(found, is_complete=found.parts < _PARTS_MAX)


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
