"""Who may do what: scopes, rules, globs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.access import (
    ANONYMOUS,
    CATALOG,
    GRANTS_ONLY,
    MEMBERS_ONLY,
    OPEN,
    Access,
    AccessPolicy,
    Action,
    Caller,
    Grant,
    ImmutableTags,
    Principal,
    Rule,
    RuleAction,
    repository_access,
)

PULL, PUSH, DELETE = (Access("repository", "team/app", each) for each in (Action.PULL, Action.PUSH, Action.DELETE))
ALICE = Principal(name="alice", groups=frozenset({"dev"}), has_credentials=True)
BOB = Principal(name="bob", has_credentials=True)


def rule(*who: str, repositories: tuple[str, ...] = ("**",), actions: tuple[str, ...] = ("pull",)) -> Rule:
    return Rule(who=who, repositories=repositories, actions=tuple(RuleAction(action) for action in actions))


def policy(*rules: Rule, blocked: tuple[str, ...] = ()) -> AccessPolicy:
    return AccessPolicy(rules=rules, blocked=frozenset(blocked))


@pytest.mark.parametrize(
    ("who", "principal", "meant"),
    [
        ("anonymous", ANONYMOUS, True),
        ("anonymous", ALICE, True),
        ("authenticated", ALICE, True),
        ("authenticated", ANONYMOUS, False),
        ("authenticated", Principal(has_credentials=True), False),
        ("alice", ALICE, True),
        ("alice", BOB, False),
        ("Alice", ALICE, False),
        ("@dev", ALICE, True),
        ("@dev", BOB, False),
        ("dev", ALICE, False),
        ("@dev", Principal(name="@dev"), False),
        ("", ANONYMOUS, False),
        ("authenticated", Principal(name="anonymous"), True),
    ],
)
def test_rule_applies_to_the_right_users(who: str, principal: Principal, *, meant: bool) -> None:
    assert rule(who).applies_to(principal) is meant


@pytest.mark.parametrize(
    ("actions", "access", "covered"),
    [
        (("pull",), PULL, True),
        (("pull",), PUSH, False),
        (("push",), PULL, False),
        (("push", "pull"), PUSH, True),
        (("delete",), DELETE, True),
        (("catalog",), CATALOG, True),
        (("catalog",), PULL, False),
        (("pull", "push", "delete"), CATALOG, False),
        (("pull", "push", "delete", "catalog"), Access("repository", "a", Action.EVERYTHING), False),
        (("pull",), Access("registry", "team/app", Action.PULL), False),
    ],
)
def test_rule_covers_its_actions(actions: tuple[str, ...], access: Access, *, covered: bool) -> None:
    assert rule("alice", actions=actions).covers(access) is covered


def test_catalog_does_not_depend_on_the_repositories_of_its_rule() -> None:
    assert rule("alice", repositories=("team/**",), actions=("catalog",)).covers(CATALOG)


@pytest.mark.parametrize(
    ("actions", "access", "covered"),
    [
        ({"pull"}, PULL, True),
        ({"pull"}, PUSH, False),
        ({"*"}, DELETE, True),
        ({"delete"}, DELETE, True),
        (set(), PULL, False),
    ],
)
def test_grant_covers_its_actions(actions: set[str], access: Access, *, covered: bool) -> None:
    assert Grant("repository", "team/app", frozenset(actions)).covers(access) is covered


def test_catalog_needs_a_literal_star() -> None:
    assert not Grant("registry", "catalog", frozenset({"pull", "push", "delete"})).covers(CATALOG)
    assert Grant("registry", "catalog", frozenset({"*"})).covers(CATALOG)


def test_grant_covers_no_other_resource() -> None:
    assert not Grant("repository", "other", frozenset({"*"})).covers(PULL)


def test_grants_replace_the_rules() -> None:
    granted = Principal(name="alice", grants=(Grant("repository", "team/app", frozenset({"pull"})),))
    assert OPEN.allows(granted, PULL)
    assert not OPEN.allows(granted, PUSH)
    assert not OPEN.allows(Principal(name="alice", grants=()), PULL)


def test_policies_of_distribution() -> None:
    assert OPEN.allows(ANONYMOUS, DELETE)
    assert MEMBERS_ONLY.allows(ALICE, DELETE)
    assert not MEMBERS_ONLY.allows(ANONYMOUS, PULL)
    assert not GRANTS_ONLY.allows(ALICE, PULL)


def test_rules_add_up() -> None:
    rules = policy(
        rule("anonymous", repositories=("public/**",)),
        rule("@dev", repositories=("team/**",), actions=("pull", "push")),
        rule("bob", actions=("delete",)),
    )
    assert rules.allows_all(ALICE, [PULL, PUSH])
    assert not rules.allows_all(ALICE, [PULL, PUSH, DELETE])
    assert rules.allows(BOB, DELETE)
    assert not rules.allows(BOB, PULL)
    assert rules.allows_all(BOB, repository_access("public/x", Action.PULL))


def test_blocked_user_may_do_nothing() -> None:
    rules = policy(rule("anonymous"), blocked=("alice", ""))
    token = Principal(name="alice", grants=(Grant("repository", "team/app", frozenset({"*"})),))
    assert not rules.allows(ALICE, PULL)
    assert not rules.allows(token, PULL)
    assert rules.is_blocked(token)
    assert not rules.pulls_everything(ALICE)
    assert rules.allows(BOB, PULL)
    assert rules.allows(ANONYMOUS, PULL)


@pytest.mark.parametrize(
    ("rules", "everything"),
    [
        ((rule("alice"),), True),
        ((rule("alice", repositories=("*",)),), False),
        ((rule("alice", actions=("push",)),), False),
        ((rule("bob"),), False),
    ],
)
def test_pulling_everything_needs_a_rule_for_all_repositories(rules: tuple[Rule, ...], *, everything: bool) -> None:
    caller = Caller(principal=ALICE, policy=policy(*rules))
    assert caller.pulls_everything is everything
    assert (caller.sees is None) is everything


def test_caller_sees_the_repositories_it_may_pull() -> None:
    caller = Caller(principal=ALICE, policy=policy(rule("@dev", repositories=("team/**",))))
    assert caller.sees is not None
    assert [name for name in ("team/app", "other", "team") if caller.sees(name)] == ["team/app"]


def test_token_for_the_catalog_sees_all_repositories() -> None:
    assert Caller(principal=Principal(grants=()), policy=GRANTS_ONLY).sees is None
    assert not GRANTS_ONLY.pulls_everything(Principal(grants=()))


def test_rule_for_anonymous_holds_for_all_users() -> None:
    assert policy(rule("anonymous")).applies_to_anonymous
    assert not policy(rule("authenticated")).applies_to_anonymous


@given(
    st.lists(st.sampled_from(["anonymous", "authenticated", "alice", "@dev"]), min_size=1),
    st.sampled_from([PULL, PUSH, DELETE, CATALOG]),
)
def test_user_has_all_rights_of_anonymous(who: list[str], access: Access) -> None:
    rules = policy(rule(*who, actions=("pull", "push", "delete", "catalog")))
    assert not rules.allows(ANONYMOUS, access) or rules.allows(BOB, access)


@pytest.mark.parametrize(
    ("name", "tag", "covered"),
    [("prod/app", "v1", True), ("prod/app", "latest", False), ("dev/app", "v1", False), ("prod/app", "v1.0-rc", True)],
)
def test_immutable_tags_are_named_by_globs(name: str, tag: str, *, covered: bool) -> None:
    assert ImmutableTags(repositories=("prod/**",), tags=("v*",)).covers(name, tag) is covered


def test_policy_returns_the_rights_of_anonymous():
    pulls = policy(rule("anonymous", actions=("pull",)), rule("alice", actions=("delete",)))
    assert pulls.allows_anonymous(RuleAction.PULL)
    assert not pulls.allows_anonymous(RuleAction.DELETE)
    assert OPEN.allows_anonymous(RuleAction.DELETE)
    assert not MEMBERS_ONLY.allows_anonymous(RuleAction.DELETE)


KEY = Principal(name="alice", has_credentials=True, key="k", limit=rule("anonymous", repositories=("team/**",)))


def test_key_has_the_rights_of_its_owner_within_its_limit() -> None:
    everything = policy(rule("alice", actions=("pull", "push", "delete")))
    assert everything.allows(KEY, PULL)
    assert not everything.allows(KEY, PUSH)
    assert not everything.allows(KEY, Access("repository", "other", Action.PULL))
    assert not policy(rule("bob")).allows(KEY, PULL)
    assert not everything.pulls_everything(KEY)


def test_key_sees_what_it_may_pull() -> None:
    sees = Caller(principal=KEY, policy=policy(rule("alice"))).sees
    assert sees is not None
    assert (sees("team/app"), sees("other")) == (True, False)
    pushing = Principal(name="alice", key="k", limit=rule("anonymous", actions=("push",)))
    sees = Caller(principal=pushing, policy=policy(rule("alice"))).sees
    assert sees is not None
    assert not sees("team/app")
    unlimited = Principal(name="alice", key="k", limit=rule("anonymous"))
    assert Caller(principal=unlimited, policy=policy(rule("alice"))).sees is None
