"""The names of the catalog, kept in memory and compared with the recorded changes before each answer.

The catalog decides which repositories exist. A name in memory is at most a minute old, and the catalog is asked again
about each repository that has a new record. So only a repository that another program changed, or that another process
changed without a tag, is noticed later, within a minute.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from core.concurrency import map_bounded
from core.model.names import RepositoryName
from core.model.pagination import Page
from core.summaries.changes import ChangeListing, ChangeLog
from core.summaries.sharing import SharedLooks

NAMES_MAX: Final = 100_000
"""Default number of names in memory, about 20 MB."""
RELOAD_SECONDS: Final = 60.0
"""Maximum age of the names in memory."""
CHECKED_MAX: Final = 50
"""If more repositories than this may have changed, the catalog is read again."""

Sees = Callable[[RepositoryName], bool] | None
"""Whether the caller sees a repository; None if it sees all."""
Names = Callable[[int, str], Awaitable[Page[RepositoryName]]]
"""Returns at most this many of the names that the caller may see, after this text."""


class CatalogPages(Protocol):
    """Returns pages of the catalog, as `CatalogService.page`."""

    async def __call__(self, n: int | None, last: str | None, *, sees: Sees = None) -> Page[RepositoryName]:
        """Return the first `n` visible names after `last`, ascending by code point."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The names as a process last saw them."""

    names: Sequence[RepositoryName] | None
    """Ascending by code point; None if there are too many."""
    seen: frozenset[str]
    """The records that the names include."""
    read_at: float


class RepositoryNames:
    """The names of all repositories; one per process.

    Args:
        catalog: returns the names.
        log: the changes that are not folded yet.
        clock: monotonic seconds.
        page_size_max: the largest page of the catalog.
        names_max: maximum number of names in memory.
    """

    def __init__(
        self,
        catalog: CatalogPages,
        *,
        log: ChangeLog,
        clock: Callable[[], float],
        page_size_max: int,
        names_max: int = NAMES_MAX,
    ) -> None:
        self._catalog = catalog
        self._log = log
        self._clock = clock
        self._page_size_max = page_size_max
        self._names_max = names_max
        self._known: _Known | None = None
        self._noted: set[RepositoryName] = set()
        self._looks: SharedLooks[None, Sequence[RepositoryName] | None] = SharedLooks()

    def note(self, name: RepositoryName) -> None:
        """Note that this process changed a repository without a record."""
        if len(self._noted) <= CHECKED_MAX:
            self._noted.add(name)

    async def all(self) -> Sequence[RepositoryName] | None:
        """Return the names in ascending order, the same object while nothing changed; None if there are too many.

        One storage request when warm, and a page of the catalog for each repository that changed.

        Raises:
            CatalogUnavailableError: the index does not respond.
        """
        return await self._looks.run(None, self._look)

    async def _look(self) -> Sequence[RepositoryName] | None:
        # Listed before names are read: a change whose record is missing here may be missing in the names too.
        listing, known = await self._log.listing(), self._known
        if known is None or not listing.is_complete or self._clock() - known.read_at >= RELOAD_SECONDS:
            return await self._read(listing)
        new = [record for record in listing.records if record.name not in known.seen]
        changed = (await self._log.by_repository(new)).keys() | self._noted
        names = [name for name in changed if name is not None]
        if len(names) < len(changed) or len(names) > CHECKED_MAX:
            return await self._read(listing)
        self._known = _Known(await self._checked(known.names, names), listing.names, known.read_at)
        self._noted.difference_update(names)
        return self._known.names

    async def _read(self, listing: ChangeListing) -> Sequence[RepositoryName] | None:
        read_at, noted = self._clock(), list(self._noted)
        names: list[RepositoryName] = []
        last, has_more = "", True
        while has_more and len(names) <= self._names_max:
            page = await self._catalog(self._page_size_max, last)
            names += page.items
            last, has_more = (page.items[-1] if page.items else last), page.has_more
        fits = len(names) <= self._names_max
        self._known = _Known(names if fits else None, listing.names, read_at)
        self._noted.difference_update(noted)
        return self._known.names

    async def _checked(
        self, known: Sequence[RepositoryName] | None, changed: Sequence[RepositoryName]
    ) -> Sequence[RepositoryName] | None:
        """Ask the catalog about some repositories."""
        if known is None or not changed:
            return known

        async def is_listed(name: RepositoryName) -> bool:
            return name in (await self._catalog(1, just_before(name))).items

        names = list(known)
        for name, is_present in zip(changed, await map_bounded(is_listed, changed), strict=True):
            at = bisect_left(names, name)
            was_present = name in names[at : at + 1]
            if is_present and not was_present:
                names.insert(at, name)
            elif was_present and not is_present:
                del names[at]
        return known if names == known else names


def page_of(names: Sequence[RepositoryName], count: int, after: str, sees: Sees) -> Page[RepositoryName]:
    """Return the first `count` visible names after a text."""
    behind = (names[at] for at in range(bisect_right(names, after), len(names)))
    found = list(islice((name for name in behind if sees is None or sees(name)), count + 1))
    return Page(items=found[:count], has_more=len(found) > count)


def just_before(name: RepositoryName) -> str:
    """Return a text that precedes `name` and follows each lesser name."""
    return f"{name[:-1]}{chr(ord(name[-1]) - 1)}~"
