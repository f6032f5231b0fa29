"""Retention: which tags stay and which may go. Pure, and the only place that decides.

A tag goes only if at least one rule speaks of it and none of those that do keeps it; what no rule speaks of stays.
Rules only keep, so their order does not matter and a further rule never takes anything away from another one's tags.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from core.digest import Digest
from core.globs import EVERYTHING, Globs
from core.names import Tag
from core.timeline import Timeline
from core.versions import Version

_ATTACHMENT: Final = re.compile(r"(sha256|sha512)-([0-9a-f]{64}|[0-9a-f]{128})(?:\.[a-z]+)?")
"""Tags that clients keep for a digest: signatures of cosign (`….sig`), and OCI's fallback for referrers."""


class Order(StrEnum):
    """What "last" means to a rule."""

    PUSHED = "pushed"
    """When the tag was last pushed."""
    SEMVER = "semver"
    """The precedence of versions; the rule then speaks only of tags that are versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """Keeps some of the tags that it speaks of: those of any of its conditions."""

    repositories: tuple[str, ...] = (EVERYTHING,)
    """Globs of names."""
    tags: tuple[str, ...] = ("*",)
    keep_last: int = 0
    """Of how many images the tags stay, in `order`; tags of one manifest count as one image."""
    order: Order = Order.PUSHED
    pushed_within: timedelta | None = None
    pulled_within: timedelta | None = None
    """Since the last pull, or the push where no pull is known."""
    _repositories: Globs = field(init=False, repr=False, compare=False)
    _tags: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_repositories", Globs(self.repositories))
        object.__setattr__(self, "_tags", Globs(self.tags))

    def covers(self, repository: str) -> bool:
        """Whether the rule speaks of tags of this repository."""
        return self._repositories.match(repository)

    def speaks_of(self, tag: str) -> bool:
        """Whether the rule speaks of such a tag."""
        if not self._tags.match(tag):
            return False
        return self.order is Order.PUSHED or Version.parse(tag) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagState:
    """A tag as retention looks at it."""

    tag: Tag
    digest: Digest
    pushed_at: datetime
    """By the store's clock, as the other times."""
    pulled_at: datetime | None = None
    """When its manifest was last pulled, by whichever tag; None where that is not known."""
    is_pull_assumed: bool = False
    """Whether nobody knows of a pull, and `pulled_at` is when pulls began to be recorded."""
    is_immutable: bool = False

    @property
    def used_at(self) -> datetime:
        """When it was last pulled, or pushed."""
        return max(self.pushed_at, self.pulled_at or self.pushed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a tag, and why."""

    state: TagState
    goes: bool
    reasons: tuple[str, ...]
    """For people: what keeps it, or that no rule does."""


def judge(
    repository: str, tags: Sequence[TagState], rules: Sequence[RetentionRule], timeline: Timeline
) -> list[Verdict]:
    """Decide about all tags of a repository, in the order in which they came.

    Args:
        repository: its name.
        tags: all of them: what "last" means depends on the others.
        rules: those of the configuration.
        timeline: the store's time, and which of it does not count.
    """
    concerning = [(number, rule) for number, rule in enumerate(rules, 1) if rule.covers(repository)]
    kept: dict[Tag, list[str]] = {}
    spoken_of: set[Tag] = set()
    ordinary = [state for state in tags if _subject(state.tag) is None]
    for number, rule in concerning:
        matching = [state for state in ordinary if rule.speaks_of(state.tag)]
        spoken_of |= {state.tag for state in matching}
        for state, reason in _kept_by(rule, matching, timeline):
            kept.setdefault(state.tag, []).append(f"rule {number}: {reason}")
    verdicts = [_verdict(state, kept.get(state.tag, []), is_spoken_of=state.tag in spoken_of) for state in tags]
    return _follow_subjects(verdicts)


def _kept_by(rule: RetentionRule, tags: Sequence[TagState], timeline: Timeline) -> Iterable[tuple[TagState, str]]:
    """Yield what a rule keeps of the tags that it speaks of, with the condition."""
    last: set[Digest] = set()
    for state in sorted(tags, key=lambda state: _rank(rule.order, state), reverse=True):
        if state.digest in last or len(last) < rule.keep_last:
            last.add(state.digest)
            yield state, f"among the last {rule.keep_last}"
        if rule.pushed_within is not None and state.pushed_at >= timeline.before(rule.pushed_within):
            yield state, "pushed lately"
        if rule.pulled_within is not None and state.used_at >= timeline.before(rule.pulled_within):
            yield state, _kind_of_use(state)


def _kind_of_use(state: TagState) -> str:
    if state.used_at != state.pulled_at:
        return "pushed lately and perhaps not yet pulled"
    return "pulls are not known for that long" if state.is_pull_assumed else "pulled lately"


def _rank(order: Order, state: TagState) -> tuple[Version | datetime, datetime, str]:
    version = Version.parse(state.tag) if order is Order.SEMVER else None
    return (version or state.pushed_at, state.pushed_at, state.tag)


def _verdict(state: TagState, reasons: Sequence[str], *, is_spoken_of: bool) -> Verdict:
    if state.is_immutable:
        return Verdict(state=state, goes=False, reasons=("immutable",))
    if not is_spoken_of:
        return Verdict(state=state, goes=False, reasons=("no rule speaks of it",))
    if reasons:
        return Verdict(state=state, goes=False, reasons=tuple(reasons))
    return Verdict(state=state, goes=True, reasons=("no rule keeps it",))


def _follow_subjects(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Let signatures and other attachments go with the last tag of what they are attached to, and not before."""
    followed = [_attached(verdict, goes=False) for verdict in verdicts]
    while True:
        # Attachments may have attachments: each round lets more go, never fewer.
        going = {verdict.state.digest for verdict in followed if verdict.goes}
        going -= {verdict.state.digest for verdict in followed if not verdict.goes}
        again = [_attached(verdict, goes=_subject(verdict.state.tag) in going) for verdict in followed]
        if again == followed:
            return followed
        followed = again


def _attached(verdict: Verdict, *, goes: bool) -> Verdict:
    subject = _subject(verdict.state.tag)
    if subject is None or verdict.state.is_immutable:
        return verdict
    reason = f"attached to {subject}, which {'goes' if goes else 'stays'}"
    return replace(verdict, goes=goes, reasons=(reason,))


def _subject(tag: str) -> str | None:
    match = _ATTACHMENT.fullmatch(tag)
    return f"{match[1]}:{match[2]}" if match else None
