"""The repositories as a tree of namespaces, one level at a time.

`team/web/app` lies in the namespace `team/web`, which lies in `team`. Sums are those of the repositories that are
added, so a caller adds only those that a visitor may see.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from core.errors import InvalidInputError
from core.model.names import NAME_LENGTH_MAX, RepositoryName
from core.summaries.paging import Cut, KeyKind, SortedNames, Sorting, microseconds
from core.summaries.table import RepositorySummary

LEVEL_PAGE_SIZE: Final = 100
_KINDS: Final = {"name": KeyKind.NAME, "pushed": KeyKind.TIME}


@dataclass(slots=True)
class Totals:
    """The sums of some repositories."""

    repositories: int = 0
    tags: int = 0
    size: int = 0
    """Size in bytes. Content that several repositories share counts once for each of them."""
    pushed_at: datetime | None = None
    """Time of the last push."""
    is_complete: bool = True
    """Whether the details of all these repositories are known."""

    def add(self, summary: RepositorySummary | None) -> None:
        """Add a repository; None if its details are not known."""
        self.repositories += 1
        if summary is None:
            self.is_complete = False
            return
        self.tags += summary.tags
        self.size += summary.size
        self.is_complete = self.is_complete and summary.is_complete
        if summary.pushed_at and (self.pushed_at is None or summary.pushed_at > self.pushed_at):
            self.pushed_at = summary.pushed_at


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace with the sums of all repositories in it, at any depth."""

    name: str
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelQuery:
    """The level of the tree that a client asks for, and its order."""

    at: str = ""
    """The namespace; empty for the root."""
    sorting: Sorting = field(default_factory=lambda: Sorting("name"))
    number: int = 1
    """The page, from 1; beyond the last page, the last one."""

    def __post_init__(self) -> None:
        if len(self.at) > NAME_LENGTH_MAX:
            raise InvalidInputError(f"a namespace has at most {NAME_LENGTH_MAX} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelPart:
    """A page of a level: namespaces come first, then the repositories directly in the namespace."""

    namespaces: Sequence[Namespace]
    repositories: Sequence[RepositoryName]
    number: int
    pages: int
    """Number of pages, at least 1."""


class Level:
    """One level of the tree; used by one task.

    Args:
        at: the namespace; empty for the root.
        summary_of: returns the details of a repository, or None.
    """

    def __init__(self, at: str, summary_of: Callable[[RepositoryName], RepositorySummary | None]) -> None:
        self.totals = Totals()
        """The sums of all repositories in the namespace, at any depth."""
        self._prefix = f"{at}/" if at else ""
        self._summary_of = summary_of
        self._namespaces: dict[str, Totals] = {}
        self._repositories: dict[RepositoryName, RepositorySummary | None] = {}

    def add(self, names: Iterable[RepositoryName]) -> None:
        """Add repositories; those outside the namespace are ignored."""
        prefix, length = self._prefix, len(self._prefix)
        for name in names:
            if not name.startswith(prefix):
                continue
            summary = self._summary_of(name)
            self.totals.add(summary)
            child, slash, _ = name[length:].partition("/")
            if slash:
                self._namespaces.setdefault(prefix + child, Totals()).add(summary)
            else:
                self._repositories[name] = summary

    def part(self, sorting: Sorting, number: int) -> LevelPart:
        """Return a page in this order."""
        key = sorting.key
        namespaces = _ordered([(name, _of_totals(key, name, each)) for name, each in self._namespaces.items()], sorting)
        repositories = _ordered(
            [(name, summary_value(key, name, each)) for name, each in self._repositories.items()], sorting
        )
        pages = max(1, -(-(len(namespaces) + len(repositories)) // LEVEL_PAGE_SIZE))
        number = min(max(number, 1), pages)
        first, end = (number - 1) * LEVEL_PAGE_SIZE, number * LEVEL_PAGE_SIZE
        before = len(namespaces)
        return LevelPart(
            namespaces=[Namespace(name, self._namespaces[name]) for name in namespaces[first:end]],
            repositories=repositories[max(0, first - before) : max(0, end - before)],
            number=number,
            pages=pages,
        )


def summary_value(key: str, name: RepositoryName, summary: RepositorySummary | None) -> Any:
    """Return the value by which a repository is sorted; None if it is not known."""
    if key == "name":
        return name
    if summary is None or (key == "size" and not summary.is_complete):
        return None
    return _of(key, summary.tags, summary.size, summary.pushed_at)


def _of_totals(key: str, name: str, totals: Totals) -> Any:
    return name if key == "name" else _of(key, totals.tags, totals.size, totals.pushed_at)


def _of(key: str, tags: int, size: int, pushed_at: datetime | None) -> int | None:
    match key:
        case "pushed":
            return microseconds(pushed_at)
        case "size":
            return size
        case _:
            return tags


def _ordered(values: Sequence[tuple[Any, Any]], sorting: Sorting) -> Sequence[Any]:
    kind = _KINDS.get(sorting.key, KeyKind.NUMBER)
    names: SortedNames[Any] = SortedNames(values, kind, is_descending=sorting.is_descending)
    return names.page(Cut(n=len(values)), size_max=len(values)).names
