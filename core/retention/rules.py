"""Retention rules: which tags are kept and which are deleted. The only module that decides; pure.

A tag is deleted only if at least one rule applies to it and none of the rules that apply keeps it. A tag to which no
rule applies is kept. Rules only keep tags, so their order does not matter, and adding a rule never deletes a tag that
another rule keeps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from core.model.digest import Digest
from core.model.globs import EVERYTHING, REPOSITORIES_DOC, Globs, glob_problem
from core.model.names import ATTACHED_TAG, Tag
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting
from core.model.versions import Version
from core.store.timeline import Timeline


class Order(StrEnum):
    """The meaning of "last" in a rule."""

    PUSHED = "pushed"
    """By the time of the last push."""
    SEMVER = "semver"
    """By the precedence of versions; the rule then applies only to tags that are versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """A retention rule. Keeps each matching tag that meets at least one of the conditions."""

    repositories: tuple[str, ...] = setting("repositories", REPOSITORIES_DOC, (EVERYTHING,), check=glob_problem)
    tags: tuple[str, ...] = setting(
        "tags", "Globs of tags that the rule covers; tags that no rule covers are kept.", ("*",), check=glob_problem
    )
    keep_last: int = setting(
        "keeplast", "Number of latest images whose tags are kept; tags of one manifest count as one.", 0, at_least=1
    )
    """0 is no condition."""
    order: Order = setting("orderby", "Order that defines the latest images: time of push, or version.", Order.PUSHED)
    pushed_within: timedelta | None = setting(
        "pushedwithin", "How long tags are kept after their last push.", None, above_zero=True
    )
    pulled_within: timedelta | None = setting(
        "pulledwithin",
        "How long tags are kept after the last pull of their image, or their push.",
        None,
        above_zero=True,
    )
    _repositories: Globs = field(init=False, repr=False, compare=False)
    _tags: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_repositories", Globs(self.repositories))
        object.__setattr__(self, "_tags", Globs(self.tags))

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a rule without a condition, which would delete all tags that it covers."""
        if not any(values.get(condition) for condition in ("keep_last", "pushed_within", "pulled_within")):
            raise SettingInvalidError(
                {"keeplast": [f"{MISSING_VALUE}: give `keeplast`, `pushedwithin` or `pulledwithin`"]}
            )
        if values.get("order") is Order.SEMVER and not values.get("keep_last"):
            raise SettingInvalidError({"orderby": ["needs `keeplast`"]})
        return values

    def covers(self, repository: str) -> bool:
        """Whether the rule applies to tags of this repository."""
        return self._repositories.match(repository)

    def applies_to(self, tag: str) -> bool:
        """Whether the rule applies to this tag."""
        if not self._tags.match(tag):
            return False
        return self.order is Order.PUSHED or Version.parse(tag) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagState:
    """The properties of a tag that retention considers."""

    tag: Tag
    digest: Digest
    pushed_at: datetime
    """By the store's clock, like the other times."""
    pulled_at: datetime | None = None
    """Time of the last pull of the manifest, by any tag; None if unknown."""
    is_pull_assumed: bool = False
    """Whether no pull is known, and `pulled_at` is the start of the pull records instead."""
    is_immutable: bool = False

    @property
    def used_at(self) -> datetime:
        """Time of the last pull or push."""
        return max(self.pushed_at, self.pulled_at or self.pushed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagVerdict:
    """The decision for a tag, with the reasons."""

    state: TagState
    goes: bool
    reasons: tuple[str, ...]
    """For operators: the conditions that keep the tag, or that no rule keeps it."""


def decide(
    repository: str, tags: Sequence[TagState], rules: Sequence[RetentionRule], timeline: Timeline
) -> list[TagVerdict]:
    """Decide for all tags of a repository; the order of the result is that of `tags`.

    Args:
        repository: the name of the repository.
        tags: all tags, because the meaning of "last" depends on all of them.
        rules: the configured rules.
        timeline: the store's time and its gaps.
    """
    applicable = [(number, rule) for number, rule in enumerate(rules, 1) if rule.covers(repository)]
    kept: dict[Tag, list[str]] = {}
    matched: set[Tag] = set()
    ordinary = [state for state in tags if _subject(state.tag) is None]
    for number, rule in applicable:
        matching = [state for state in ordinary if rule.applies_to(state.tag)]
        matched |= {state.tag for state in matching}
        for state, reason in _kept_by(rule, matching, timeline):
            kept.setdefault(state.tag, []).append(f"rule {number}: {reason}")
    verdicts = [_verdict(state, kept.get(state.tag, []), is_matched=state.tag in matched) for state in tags]
    return _follow_subjects(verdicts)


def _kept_by(rule: RetentionRule, tags: Sequence[TagState], timeline: Timeline) -> Iterable[tuple[TagState, str]]:
    """Yield the tags that a rule keeps, with the condition."""
    last: set[Digest] = set()
    for state in sorted(tags, key=lambda state: _rank(rule.order, state), reverse=True):
        if state.digest in last or len(last) < rule.keep_last:
            last.add(state.digest)
            yield state, f"among the last {rule.keep_last}"
        if rule.pushed_within is not None and state.pushed_at >= timeline.before(rule.pushed_within):
            yield state, "pushed recently"
        if rule.pulled_within is not None and state.used_at >= timeline.before(rule.pulled_within):
            yield state, _kind_of_use(state)


def _kind_of_use(state: TagState) -> str:
    if state.used_at != state.pulled_at:
        return "pushed recently, no later pull known"
    return "pull records do not reach back far enough" if state.is_pull_assumed else "pulled recently"


def _rank(order: Order, state: TagState) -> tuple[Version | datetime, datetime, str]:
    version = Version.parse(state.tag) if order is Order.SEMVER else None
    return (version or state.pushed_at, state.pushed_at, state.tag)


def _verdict(state: TagState, reasons: Sequence[str], *, is_matched: bool) -> TagVerdict:
    if state.is_immutable:
        return TagVerdict(state=state, goes=False, reasons=("immutable",))
    if not is_matched:
        return TagVerdict(state=state, goes=False, reasons=("no rule matches",))
    if reasons:
        return TagVerdict(state=state, goes=False, reasons=tuple(reasons))
    return TagVerdict(state=state, goes=True, reasons=("not kept by any rule",))


def _follow_subjects(verdicts: Sequence[TagVerdict]) -> list[TagVerdict]:
    """Decide for attachments, such as signatures: each is deleted with the last tag of its subject, not earlier."""
    followed = [_attached(verdict, goes=False) for verdict in verdicts]
    while True:
        # Attachments may have attachments: each iteration deletes more tags, never fewer.
        going = {verdict.state.digest for verdict in followed if verdict.goes}
        going -= {verdict.state.digest for verdict in followed if not verdict.goes}
        again = [_attached(verdict, goes=_subject(verdict.state.tag) in going) for verdict in followed]
        if again == followed:
            return followed
        followed = again


def _attached(verdict: TagVerdict, *, goes: bool) -> TagVerdict:
    subject = _subject(verdict.state.tag)
    if subject is None or verdict.state.is_immutable:
        return verdict
    reason = f"attached to {subject}, which is {'deleted' if goes else 'kept'}"
    return replace(verdict, goes=goes, reasons=(reason,))


def _subject(tag: str) -> str | None:
    match = ATTACHED_TAG.fullmatch(tag)
    return f"{match[1]}:{match[2]}" if match else None
