"""Globs are compared with a plain matcher of all states, and no text makes them slow."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.access import Access, Action, ImmutableTags, Rule, RuleAction
from core.model.globs import Globs
from core.model.names import NAME_LENGTH_MAX, RepositoryName
from core.retention.rules import RetentionRule
from core.transfer.copy import Selection

_PART = re.compile(r"\*{2,}|[^*]|\*", re.DOTALL)
BACKTRACKING = "*".join("a" * 12) + "b"
"""Against a long run of `a`, an expression that backtracks needs more steps than a machine makes in a year."""
LONG = "a" * NAME_LENGTH_MAX


def matches_by_states(glob: str, text: str) -> bool:
    """Match by following every state at once."""
    parts = _PART.findall(glob)
    states = _spread(parts, {0})
    for character in text:
        stepped = {
            state if parts[state].startswith("*") else state + 1
            for state in states
            if state < len(parts) and _takes(parts[state], character)
        }
        states = _spread(parts, stepped)
    return len(parts) in states


def _takes(part: str, character: str) -> bool:
    return character != "/" if part in {"*", "?"} else part.startswith("**") or part == character


def _spread(parts: list[str], states: set[int]) -> set[int]:
    """Add the states that are reached without a character: a wildcard may be empty."""
    reached = set(states)
    for state in range(len(parts)):
        if state in reached and parts[state].startswith("*"):
            reached.add(state + 1)
    return reached


@pytest.mark.parametrize(
    ("glob", "name", "matches"),
    [
        ("**", "a/b/c", True),
        ("*", "a", True),
        ("*", "a/b", False),
        ("team/*", "team/app", True),
        ("team/*", "team/app/x", False),
        ("team/*", "team", False),
        ("team/**", "team/app/x", True),
        ("team/**", "team", False),
        ("team/**", "teamx/app", False),
        ("**/app", "a/b/app", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("a", "A", False),
        ("team", "team\n", False),
        ("***", "a/b", True),
        ("a*b/c*d", "axb/cxd", True),
        ("a*b/c*d", "ax/b/cxd", False),
        ("a**b*c**d", "a/b/bc/d", True),
    ],
)
def test_glob_matches_whole_names(glob: str, name: str, *, matches: bool) -> None:
    assert Globs((glob,)).match(name) is matches


def test_empty_globs_match_nothing() -> None:
    assert not Globs(()).match("")
    assert not Globs(()).match("a")


@given(st.text(max_size=30))
def test_glob_without_wildcards_matches_itself(text: str) -> None:
    literal = text.replace("*", "").replace("?", "")
    assert Globs((literal,)).match(literal)
    assert not Globs((literal,)).match(literal + "x")


@given(
    st.lists(st.sampled_from(["a", "b", "/", "?", "*", "*", "**"]), max_size=12).map("".join),
    st.text(alphabet="ab/", max_size=16),
)
def test_glob_agrees_with_a_plain_matcher(glob: str, text: str) -> None:
    assert Globs((glob,)).match(text) is matches_by_states(glob, text)


@pytest.mark.parametrize("glob", [BACKTRACKING, f"**{BACKTRACKING}", BACKTRACKING.replace("*", "**"), "*-*-*-*-stage"])
def test_glob_handles_every_text(glob: str) -> None:
    assert not Globs((glob,)).match(LONG)
    assert not Globs((glob,)).match("-" * NAME_LENGTH_MAX)


def test_text_too_long_for_a_name_matches_only_everything() -> None:
    assert Globs(("a*", "**")).match(LONG + "a")
    assert not Globs(("a*", "a**", "?**")).match(LONG + "a")


def test_every_pattern_of_names_is_safe_from_backtracking() -> None:
    globs = (BACKTRACKING,)
    rule = Rule(who=("anonymous",), repositories=globs, actions=tuple(RuleAction))
    assert not rule.covers(Access("repository", LONG * 20, Action.PULL))
    assert not rule.matches(LONG)
    assert not ImmutableTags(repositories=globs, tags=("*",)).covers(LONG, "1")
    assert not ImmutableTags(tags=globs).covers("app", LONG)
    assert not RetentionRule(repositories=globs).covers(LONG)
    assert not RetentionRule(tags=globs).applies_to(LONG)
    assert not Selection(patterns=globs).includes(RepositoryName(LONG))
