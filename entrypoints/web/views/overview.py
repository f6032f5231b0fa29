"""The overview: the repositories that the visitor may pull from, as a tree or a list, and the state of the registry."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from core.model.access import Action, RuleAction
from core.model.names import NAME_LENGTH_MAX, RepositoryName
from core.summaries.namespaces import LevelQuery
from core.summaries.paging import Cut, Sorting
from core.summaries.repository_list import REPOSITORY_SORTS, RepositoryQuery
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.views.state import RegistryState
from entrypoints.web.visits import Answer, Shown, View, Visit

_PAGE_SIZE: Final = 100
_EXAMPLE: Final = "hello-world"
"""The image that the page pushes to an empty registry, in a command."""

Sees = Callable[[str], bool] | None


class OverviewViews:
    """Lists repositories, and shows the state of the registry to operators."""

    def __init__(self, parts: SiteParts) -> None:
        self._repositories = parts.registry.repository_lists
        self._state = RegistryState(parts)

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.OVERVIEW, "GET"): self.show}

    async def show(self, visit: Visit) -> Answer:
        """Show one level of the tree of namespaces, or a part of the list of all repositories.

        Costs one request for the table of repositories, those of the catalog index, and few for each repository that
        changed or is not in the table. Operators cost about ten more for the state of the registry.
        """
        at, text = visit.query("in").strip("/"), visit.query("q").strip()
        is_list = bool(text) or visit.query("view") == "list"
        sees = visit.caller.sees
        sorting = Sorting.parse(visit.query("sort"), REPOSITORY_SORTS)
        query = LevelQuery(at=at, sorting=sorting, number=visit.number("page", default=1))
        # A filtered list shows no sums, for which all names would be read once more.
        level = None if text else await self._repositories.level(query, sees=sees)
        is_root = not at and level is not None
        values: dict[str, Any] = {
            "level": level,
            "at": at,
            "steps": _steps(at),
            "q": text,
            "sort": visit.query("sort"),
            "is_list": is_list,
            "items": level.repositories if level else (),
            "namespaces": level.namespaces if level else (),
            "page": None,
            "state": await self._state.look() if visit.is_admin and is_root else None,
            "example": _example(visit) if is_root and level and not level.totals.repositories else "",
        }
        if is_list:
            cut = Cut(n=_PAGE_SIZE, last=visit.query("last"), before=visit.query("before"))
            listed = RepositoryQuery.parse(text=text, sort=visit.query("sort"), cut=cut)
            page = await self._repositories.page(listed, sees=_inside(at, sees))
            values |= {"page": page, "items": page.items, "namespaces": ()}
        return Shown(template="overview.html", values=values)


def _steps(at: str) -> list[tuple[str, str]]:
    """Return the namespaces above a namespace and itself, each with its last component."""
    parts = at.split("/") if at else []
    return [("/".join(parts[: depth + 1]), part) for depth, part in enumerate(parts)]


def _inside(at: str, sees: Sees) -> Sees:
    if not at:
        return sees
    prefix = f"{at}/"
    return lambda name: name.startswith(prefix) and (sees is None or sees(name))


def _example(visit: Visit) -> str:
    """Return the name of a repository to which the visitor may push; empty if no rule allows any."""
    caller = visit.caller
    rules = (rule for rule in caller.policy.rules if RuleAction.PUSH in rule.actions)
    globs = (glob for rule in rules if rule.applies_to(caller.principal) for glob in rule.repositories)
    for glob in globs:
        name = glob.replace("**", _EXAMPLE).replace("*", _EXAMPLE)
        if len(name) <= NAME_LENGTH_MAX and RepositoryName.parse(name) and visit.may(Action.PUSH, name):
            return name
    return ""
