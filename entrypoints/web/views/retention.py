"""The plan of retention: which tags the rules would delete now, which stay, and why."""

import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import NameUnknownError
from core.model.access import ADMINISTRATION
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.retention.rules import TagVerdict
from core.retention.service import RetentionPlan
from entrypoints.http.handlers.retention import RecentPulls
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.visits import Answer, Shown, View, Visit

_PLANS: Final = 25
"""Number of repositories on a page."""
_TAGS: Final = 100
"""Number of tags on a page about one repository."""
_TAGS_SHOWN: Final = 8
"""Number of tags that are named of each repository in the plan of all."""
_OF_RULE: Final = re.compile(r"rule ([0-9]+): (?:among the last ([0-9]+)|(.+))")
_ATTACHED: Final = re.compile(r"attached to (\S+), which is (deleted|kept)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason of the core in its parts, because the page translates it."""

    text: str
    rule: int = 0
    """The number of the rule, or 0."""
    number: int = 0
    """The number of images that the rule keeps."""
    subject: str = ""
    """The digest of the image to which the tag is attached."""

    @classmethod
    def parse(cls, text: str) -> "Reason":
        """Return the parts of a reason (see `core.retention.rules`)."""
        if found := _OF_RULE.fullmatch(text):
            return cls(text=found[3] or "among the last", rule=int(found[1]), number=int(found[2] or 0))
        if found := _ATTACHED.fullmatch(text):
            return cls(text=f"attached, {found[2]}", subject=found[1])
        return cls(text=text)


class RetentionViews:
    """Shows what the retention rules would delete. Deletes nothing."""

    def __init__(self, parts: SiteParts) -> None:
        self._retention = parts.registry.retention
        self._summaries = parts.registry.summaries
        self._interval_seconds = parts.settings.retention.interval_seconds
        self._pulls = RecentPulls(self._retention, clock=time.monotonic)

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {
            (Page.RETENTION, "GET"): self.show,
            (Page.REPOSITORY_RETENTION, "GET"): self.show_repository,
        }

    async def show(self, visit: Visit) -> Answer:
        """Show a page of the plans of all repositories, for operators (see `RetentionService.page` for the cost)."""
        visit.require(ADMINISTRATION)
        _require_whole(visit)
        page = await self._retention.page(await self._pulls.read(), n=_PLANS, after=visit.query("last"))
        values = {
            "rules": self._retention.rules,
            "plans": page.plans,
            "following": page.last or None,
            "is_first": not visit.query("last"),
            "tags_shown": _TAGS_SHOWN,
            "interval_seconds": self._interval_seconds,
        }
        return Shown(template="retention.html", values=values)

    async def show_repository(self, visit: Visit) -> Answer:
        """Show the plan of a repository (see `RetentionService.plan` and `SummaryService.describe` for the cost)."""
        name = visit.require_pull()
        _require_whole(visit)
        plan = await self._retention.plan(name, await self._pulls.read())
        going, staying = _sorted(plan, goes=True), _sorted(plan, goes=False)
        shows_staying = visit.query("show") == "staying" or (not going and visit.query("show") != "going")
        chosen = staying if shows_staying else going
        shown, previous, following = _cut(chosen, last=visit.query("last"), before=visit.query("before"))
        values = {
            "sizes": await self._sizes(name, shown),
            "name": name,
            "rules": self._retention.rules,
            "going": len(going),
            "staying": len(staying),
            "shows_staying": shows_staying,
            "rows": [(verdict.state, [Reason.parse(reason) for reason in verdict.reasons]) for verdict in shown],
            "previous": previous,
            "following": following,
        }
        return Shown(template="plan.html", values=values)

    async def _sizes(self, name: RepositoryName, verdicts: Sequence[TagVerdict]) -> Mapping[Digest, int]:
        """Return the sizes of the images that are known."""
        summaries = await self._summaries.describe(name, {verdict.state.digest for verdict in verdicts})
        return {digest: summary.size for digest, summary in summaries.items() if summary.is_complete}


def _require_whole(visit: Visit) -> None:
    if visit.location.reference:
        raise NameUnknownError("no such page")


def _sorted(plan: RetentionPlan, *, goes: bool) -> list[TagVerdict]:
    chosen = [verdict for verdict in plan.verdicts if verdict.goes is goes]
    return sorted(chosen, key=lambda verdict: verdict.state.tag)


def _cut(
    verdicts: Sequence[TagVerdict], *, last: str, before: str
) -> tuple[Sequence[TagVerdict], str | None, str | None]:
    """Return a page of sorted tags, and the markers of the previous and the next page."""
    tags = [str(verdict.state.tag) for verdict in verdicts]
    start = max(0, bisect_left(tags, before) - _TAGS) if before else bisect_right(tags, last) if last else 0
    end = bisect_left(tags, before) if before else start + _TAGS
    shown = verdicts[start:end]
    previous = tags[start] if shown and start else None
    return shown, previous, tags[end - 1] if shown and end < len(tags) else None
