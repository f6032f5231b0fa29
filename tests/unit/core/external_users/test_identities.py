"""The user whom the claims of an ID token name."""

import pytest

from core.external_users.identities import IdentityRules
from core.external_users.user import GROUPS_MAX
from core.ports.identity_provider import SignInRefusedError

CLAIMS = {"preferred_username": "alice", "email": "alice@example.com", "email_verified": True, "groups": ["dev", "ops"]}


def test_user_and_groups_have_prefixes():
    assert IdentityRules().identify(CLAIMS) == ("oidc:alice", frozenset({"oidc:dev", "oidc:ops"}))
    rules = IdentityRules(user="corp:{email}", group_prefix="corp:")
    assert rules.identify(CLAIMS) == ("corp:alice@example.com", frozenset({"corp:dev", "corp:ops"}))
    assert (rules.prefix, rules.claims) == ("corp:", frozenset({"email", "groups"}))


@pytest.mark.parametrize(
    ("groups", "claims", "expected"),
    [
        ("roles", CLAIMS, set()),
        ("roles", {**CLAIMS, "roles": "admin"}, {"oidc:admin"}),
        ("roles", {**CLAIMS, "roles": [1, None, {"a": 1}, "a\nb", ""]}, {"oidc:1", "oidc:"}),
        ("realm_access/roles", {**CLAIMS, "realm_access": {"roles": ["a b"]}}, {"oidc:a b"}),
        ("groups", {**CLAIMS, "groups": {"dev": 1}}, set()),
    ],
)
def test_groups_come_from_any_claim(groups, claims, expected):
    assert IdentityRules(groups=groups).identify(claims)[1] == expected


def test_too_many_groups_are_refused():
    with pytest.raises(SignInRefusedError, match="more than"):
        IdentityRules().identify({**CLAIMS, "groups": [str(number) for number in range(GROUPS_MAX + 1)]})


def test_groups_that_the_provider_left_out_are_named_in_the_log(caplog):
    claims = {"preferred_username": "alice", "_claim_names": {"groups": "src1"}}
    assert IdentityRules().identify(claims) == ("oidc:alice", frozenset())
    assert "oidc:alice signs in without groups" in caplog.text
    caplog.clear()
    IdentityRules().identify({"preferred_username": "alice", "_claim_names": {"other": "src1"}})
    assert not caplog.text


def test_required_claims_must_match():
    rules = IdentityRules(when={"email_verified": ("true",), "email": ("*@example.com", "*@example.org")})
    assert rules.claims == {"preferred_username", "groups", "email_verified", "email"}
    assert rules.identify(CLAIMS)[0] == "oidc:alice"
    for wrong in ({"email_verified": False}, {"email_verified": None}, {"email": "alice@evil.example"}):
        with pytest.raises(SignInRefusedError, match="does not match"):
            rules.identify({**CLAIMS, **wrong})


@pytest.mark.parametrize("name", [None, "", "a b", "é", ["alice"], "a" * 300])
def test_claims_that_make_no_name_are_refused(name):
    with pytest.raises(SignInRefusedError, match="claim"):
        IdentityRules().identify({**CLAIMS, "preferred_username": name})
