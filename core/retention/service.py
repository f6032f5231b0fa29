"""Retention of stored tags: applies the rules to each repository, and detects tags that changed afterwards."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from core.concurrency import closing, map_bounded
from core.model.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.retention.pulls import PullHistory, Pulls
from core.retention.rules import RetentionRule, TagState, TagVerdict, decide
from core.store import layout
from core.store.clock import StoreClock
from core.store.link_keys import RevisionKey, parse_link_key
from core.store.repositories import repository_paths, require_repository
from core.store.tag_links import TagLinks, TagTarget
from core.store.timeline import Timeline

PAGE_SIZE_MAX: Final = 50
"""Maximum number of repositories on a page of plans."""
_PAGE_TAGS_MAX: Final = 10_000
"""Number of tags after which a page ends."""
_EXAMINED_MAX: Final = 1_000
"""Number of repositories after which a page ends, with or without a rule that applies to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """The decisions for the tags of one repository."""

    name: RepositoryName
    verdicts: Sequence[TagVerdict]
    removed: Sequence[TagState] = ()
    """The deleted tags. A tag that was pushed again in between is not included."""

    @property
    def going(self) -> list[TagState]:
        """The tags that no rule keeps."""
        return [verdict.state for verdict in self.verdicts if verdict.goes]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPage:
    """The decisions for consecutive repositories. Repositories to which no rule applies are left out."""

    plans: Sequence[RetentionPlan]
    last: str = ""
    """The last repository that was examined; empty if none follows."""


class RetentionService:
    """Applies the retention rules to tags; one per process. Does not remove anything.

    Args:
        storage: the store.
        tag_links: the tags of the store.
        pulls: the history of pulls.
        rules: the configured rules.
        is_immutable: whether a tag is immutable.
        store_clock: the clock of the process; without it, only jumps recorded in the store are known.
    """

    def __init__(
        self,
        storage: BlobStorage,
        tag_links: TagLinks,
        pulls: PullHistory,
        *,
        rules: Sequence[RetentionRule],
        is_immutable: Callable[[RepositoryName, Tag], bool],
        store_clock: StoreClock | None = None,
    ) -> None:
        self._storage = storage
        self._store_clock = store_clock or StoreClock(storage)
        self._tags = tag_links
        self._pulls = pulls
        self._rules = rules
        self._is_immutable = is_immutable

    @property
    def has_rules(self) -> bool:
        """Whether any rules are configured."""
        return bool(self._rules)

    @property
    def rules(self) -> Sequence[RetentionRule]:
        """The configured rules; reasons count them from 1."""
        return self._rules

    async def plans(self, *, merges_pulls: bool) -> AsyncIterator[RetentionPlan]:
        """Yield the decisions for each repository with tags to which a rule applies, by ascending name.

        Each repository is evaluated only when the iteration reaches it, so decisions are recent when the caller acts on
        them. Costs a listing of all repositories, two listings per repository to which a rule applies, and a read per
        tag if the store does not list checksums.

        Args:
            merges_pulls: also merge the records of pulls into few objects.
        """
        if not self.has_rules:
            return
        pulls = await self.known_pulls(merges=merges_pulls)
        async for path in repository_paths(self._storage):
            if (name := self._covered(path)) and (states := await self._states(name, pulls)):
                yield self._decide(name, states, await self._store_clock.look())

    async def page(self, pulls: Pulls | None, *, n: int | None = None, after: str = "") -> RetentionPage:
        """Return the decisions for repositories after `after`, by ascending name (see `plans`).

        The work is bounded by the numbers of repositories and tags, so a page may have few plans, or none.

        Args:
            pulls: the result of `known_pulls`.
            n: the requested number of plans; None for the largest page.
            after: the last repository that the previous page examined, or the empty text.
        """
        size = PAGE_SIZE_MAX if n is None else min(n, PAGE_SIZE_MAX)
        plans: list[RetentionPlan] = []
        if not (self.has_rules and size):
            return RetentionPage(plans=plans)
        timeline = await self._store_clock.look()
        examined, tags, last = 0, 0, ""
        async with closing(repository_paths(self._storage, after=after)) as paths:
            async for path in paths:
                if len(plans) == size or tags >= _PAGE_TAGS_MAX or examined == _EXAMINED_MAX:
                    return RetentionPage(plans=plans, last=last)
                examined, last = examined + 1, path
                if (name := self._covered(path)) and (states := await self._states(name, pulls)):
                    plans.append(self._decide(name, states, timeline))
                    tags += len(states)
        return RetentionPage(plans=plans)

    async def plan(self, name: RepositoryName, pulls: Pulls | None) -> RetentionPlan:
        """Return the decisions for one repository; none if no rule applies to it.

        Raises:
            NameUnknownError: the repository does not exist.
        """
        states = await self._states(name, pulls) if self._covered(name) else []
        if not states:
            await require_repository(self._storage, name)
            return RetentionPlan(name=name, verdicts=())
        return self._decide(name, states, await self._store_clock.look())

    async def unchanged(self, name: RepositoryName, states: Sequence[TagState]) -> list[TagState]:
        """Return the tags that were not pushed again since the decision. One request per tag."""

        async def is_unchanged(state: TagState) -> bool:
            return await self._tags.stands(name, state.tag, TagTarget(state.digest, state.pushed_at))

        verdicts = await map_bounded(is_unchanged, states)
        return [state for state, stands in zip(states, verdicts, strict=True) if stands]

    async def known_pulls(self, *, merges: bool = False) -> Pulls | None:
        """Return the last pulls if a rule depends on them. Costs a listing, and one request per batch of pulls.

        Args:
            merges: also merge the records of pulls into few objects.
        """
        asked = [rule.pulled_within for rule in self._rules if rule.pulled_within is not None]
        return await self._pulls.read(oldest=max(asked), merges=merges) if asked else None

    def _covered(self, path: str) -> RepositoryName | None:
        return RepositoryName.parse(path) if any(rule.covers(path) for rule in self._rules) else None

    def _decide(self, name: RepositoryName, states: Sequence[TagState], timeline: Timeline) -> RetentionPlan:
        return RetentionPlan(name=name, verdicts=decide(name, states, self._rules, timeline))

    async def _states(self, name: RepositoryName, pulls: Pulls | None) -> list[TagState]:
        keys = [key async for key, _ in self._storage.walk(layout.revisions(name))]
        held = [link.digest for link in map(parse_link_key, keys) if isinstance(link, RevisionKey)]
        states = []
        for tag, target in (await self._tags.targets(name, held)).items():
            if target.digest is None or target.pushed_at is None:
                # The tag cannot be pulled; garbage collection removes it.
                continue
            pulled_at = pulls.last(name, target.digest) if pulls else None
            states.append(
                TagState(
                    tag=tag,
                    digest=target.digest,
                    pushed_at=target.pushed_at,
                    pulled_at=pulled_at or (pulls.since if pulls else None),
                    is_pull_assumed=pulled_at is None,
                    is_immutable=self._is_immutable(name, tag),
                )
            )
        return states
