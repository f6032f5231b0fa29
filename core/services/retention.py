"""Retention on the store: what the rules say of each repository, and what still stands as it was judged."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from core import layout
from core.concurrency import map_bounded
from core.errors import NameInvalidError
from core.link_keys import RevisionKey, parse_link_key
from core.names import RepositoryName, Tag
from core.ports.blob_storage import BlobStorage
from core.pulls import PullHistory, Pulls
from core.retention import RetentionRule, TagState, Verdict, judge
from core.store_clock import StoreClock
from core.tag_links import TagLinks, TagTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """What becomes of the tags of one repository."""

    name: RepositoryName
    verdicts: Sequence[Verdict]
    removed: Sequence[TagState] = ()
    """Those that were deleted; a tag that was pushed again in between is not among them."""

    @property
    def going(self) -> list[TagState]:
        """The tags that no rule keeps."""
        return [verdict.state for verdict in self.verdicts if verdict.goes]


class RetentionService:
    """Judges tags by the rules; one per process. Removes nothing itself.

    Args:
        storage: the store.
        tag_links: its tags.
        pulls: when manifests were pulled.
        rules: those of the configuration.
        keeps_tag: tells which tags nobody may take away.
        store_clock: that of the process; without it, only what the store remembers tells of jumps.
    """

    def __init__(
        self,
        storage: BlobStorage,
        tag_links: TagLinks,
        pulls: PullHistory,
        *,
        rules: Sequence[RetentionRule],
        keeps_tag: Callable[[RepositoryName, Tag], bool],
        store_clock: StoreClock | None = None,
    ) -> None:
        self._storage = storage
        self._store_clock = store_clock or StoreClock(storage)
        self._tags = tag_links
        self._pulls = pulls
        self._rules = rules
        self._keeps_tag = keeps_tag

    async def plans(self, *, merges_pulls: bool) -> AsyncIterator[RetentionPlan]:
        """Yield what the rules say of each repository that they speak of and that has tags, by ascending names.

        Each is judged when it is asked for, so that what comes next is done on fresh knowledge. Costs a listing of all
        repositories, two of each one that a rule speaks of, and a read per tag where the store tells no checksums.

        Args:
            merges_pulls: have few records of pulls instead of many, on the way.
        """
        if not self._rules:
            return
        pulls = await self._known_pulls(merges=merges_pulls)
        async for path in self._storage.list_marked(layout.REPOSITORIES):
            if not any(rule.covers(path) for rule in self._rules):
                continue
            try:
                name = RepositoryName(path)
            except NameInvalidError:
                # Somebody else's folder.
                continue
            if states := await self._states(name, pulls):
                verdicts = judge(name, states, self._rules, await self._store_clock.look())
                yield RetentionPlan(name=name, verdicts=verdicts)

    async def unchanged(self, name: RepositoryName, states: Sequence[TagState]) -> list[TagState]:
        """Return the tags that have not been pushed again since they were judged. A request for each."""

        async def is_unchanged(state: TagState) -> bool:
            return await self._tags.stands(name, state.tag, TagTarget(state.digest, state.pushed_at))

        verdicts = await map_bounded(is_unchanged, states)
        return [state for state, stands in zip(states, verdicts, strict=True) if stands]

    async def _known_pulls(self, *, merges: bool) -> Pulls | None:
        asked = [rule.pulled_within for rule in self._rules if rule.pulled_within is not None]
        return await self._pulls.read(oldest=max(asked), merges=merges) if asked else None

    async def _states(self, name: RepositoryName, pulls: Pulls | None) -> list[TagState]:
        keys = [key async for key, _ in self._storage.walk(layout.revisions(name))]
        held = [link.digest for link in map(parse_link_key, keys) if isinstance(link, RevisionKey)]
        states = []
        for tag, target in (await self._tags.targets(name, held)).items():
            if target.digest is None or target.pushed_at is None:
                # Nobody can pull it; collection sees to it.
                continue
            pulled_at = pulls.last(name, target.digest) if pulls else None
            states.append(
                TagState(
                    tag=tag,
                    digest=target.digest,
                    pushed_at=target.pushed_at,
                    pulled_at=pulled_at or (pulls.since if pulls else None),
                    is_pull_assumed=pulled_at is None,
                    is_immutable=self._keeps_tag(name, tag),
                )
            )
        return states
