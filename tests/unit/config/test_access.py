"""The keys of `access` and `auth`, and the rules built from them."""

import pytest

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from adapters.auth.open import OpenAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.auth.token import TokenAuthenticator
from config.container import build_server_parts
from config.container.graph import Container
from config.policies import TagImmutability, access_policy
from config.settings import AccessSettings, AuthKind, AuthSettings
from core.model.access import GRANTS_ONLY, MEMBERS_ONLY, OPEN, ImmutableTags, Principal, RuleAction, repository_access
from core.model.access import Action as Doing
from core.model.names import RepositoryName, Tag
from entrypoints.process.start_warnings import warn_at_start
from tests.support.configuration import MINIMAL, SCS, LoadText, problems_of

HTPASSWD = "auth: {htpasswd: {realm: r, path: /p}}\n"
BOTH = "auth: {htpasswd: {realm: r, path: /p}, token: {realm: r, issuer: i, service: s, jwks: /k}}\n"
TOKEN = "auth: {token: {realm: r, issuer: i, service: s, jwks: /k}}\n"
SILLY = "auth: {silly: {realm: r, service: s}}\n"
CERTIFICATES = (
    "http: {tls: {certificate: c, key: k, clientcas: [a], clientidentity: {from: uri, groups: organizationalunit}}}\n"
)
CERTIFIED = "access: {rules: [{who: ['@cert:g', 'cert:x'], actions: [pull]}]}\n"
RULES = """
access:
  groupfile: /groups
  blockedusers: mallory
  uploadlifetime: 2h
  rules:
    - {who: anonymous, repositories: 'public/**', actions: pull}
    - {who: ['@dev', alice], actions: [pull, push, delete, catalog]}
  immutabletags:
    - {repositories: [prod/*], tags: ['v*']}
    - {tags: stable}
"""


def test_rules_are_parsed(load_text: LoadText) -> None:
    access = load_text(MINIMAL + HTPASSWD + RULES).settings.access
    first, second = access.rules
    assert (first.who, first.repositories, first.actions) == (
        ("anonymous",),
        ("public/**",),
        (RuleAction.PULL,),
    )
    assert (second.who, second.repositories) == (("@dev", "alice"), ("**",))
    assert (access.group_file, access.blocked_users, access.upload_lifetime_seconds) == ("/groups", ("mallory",), 7200)
    assert [each.tags for each in access.immutable_tags] == [("v*",), ("stable",)]


def test_rules_can_be_variables(load_text: LoadText) -> None:
    environ = {
        "REGISTRY_ACCESS_RULES_0_WHO": "anonymous",
        "REGISTRY_ACCESS_RULES_0_ACTIONS": "[pull]",
        "REGISTRY_ACCESS_IMMUTABLETAGS": "[{tags: ['v*']}]",
    }
    access = load_text(MINIMAL + HTPASSWD, environ).settings.access
    assert access.rules[0].who == ("anonymous",)
    assert access.immutable_tags[0].repositories == ("**",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HTPASSWD + "access: {rules: [{actions: [pull]}]}\n", "`access.rules[0].who` is missing"),
        (HTPASSWD + "access: {rules: [{who: [a]}]}\n", "`access.rules[0].actions` is missing"),
        (HTPASSWD + "access: {rules: [{who: [a], actions: [read]}]}\n", "must be one of pull, push, delete, catalog"),
        (HTPASSWD + "access: {rules: [{who: ['@'], actions: [pull]}]}\n", "must be a user"),
        (HTPASSWD + "access: {rules: [{who: [a], actions: [pull], repositories: ['a b']}]}\n", "must be a glob"),
        (HTPASSWD + "access: {rules: [{who: ['@g'], actions: [pull]}]}\n", "a rule names a group"),
        (HTPASSWD + "access: {rules: [{who: [a], actions: [pull], repos: [a]}]}\n", "`access.rules[0].repos` is not a"),
        (HTPASSWD + "acess: {rules: []}\n", "did you mean `access`?"),
        (HTPASSWD + "access: {rule: []}\n", "`access.rule` is not a known key"),
        (SILLY + "access: {groupfile: /g}\n", "needs `auth.htpasswd`"),
        (CERTIFICATES + "access: {rules: [{who: ['@g'], actions: [pull]}]}\n", "a rule names a group"),
        (CERTIFICATES.replace("organizationalunit", "none") + CERTIFIED, "a rule names a group"),
        (TOKEN + CERTIFICATES, "`http.tls.clientidentity` cannot be combined with `auth.token`"),
        (TOKEN + "access: {rules: [{who: [a], actions: [pull]}]}\n", "the token server grants access"),
        ("auth: {token: {realm: r, issuer: i, service: s, jwks: /k, signingalgorithms: [none]}}\n", "must be one of"),
    ],
)
def test_rules_without_effect_are_refused(load_text: LoadText, text: str, said: str) -> None:
    assert any(said in problem for problem in problems_of(load_text, MINIMAL + text))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", OpenAuthenticator),
        ("auth: none\n", OpenAuthenticator),
        (SILLY, SillyAuthenticator),
        (HTPASSWD, AccessKeyAuthenticator),
        (HTPASSWD + RULES, LoginTokenAuthenticator),
        (HTPASSWD + "access: {rules: [{who: [a], actions: [pull]}]}\n", AccessKeyAuthenticator),
        (TOKEN, TokenAuthenticator),
        (BOTH, LoginTokenAuthenticator),
        (CERTIFICATES + CERTIFIED, OpenAuthenticator),
        (HTPASSWD + CERTIFICATES + CERTIFIED, AccessKeyAuthenticator),
        (BOTH + "access: {groupfile: /g, rules: [{who: ['@g'], actions: [pull]}]}\n", LoginTokenAuthenticator),
        (
            "auth: {token: {realm: r, issuer: i, service: s, rootcertbundle: /c, autoredirect: true}}\n",
            TokenAuthenticator,
        ),
    ],
)
def test_method_has_its_adapter(load_text: LoadText, text: str, kind: type) -> None:
    container = Container(settings=load_text(MINIMAL + text).settings)
    assert type(container.authenticator()) is kind
    assert container.authenticator() is container.authenticator()
    assert container.shared_secret() == container.shared_secret()


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        (AuthKind.NONE, OPEN),
        (AuthKind.SILLY, MEMBERS_ONLY),
        (AuthKind.HTPASSWD, MEMBERS_ONLY),
        (AuthKind.TOKEN, GRANTS_ONLY),
    ],
)
def test_without_rules_access_is_as_in_distribution(kind: AuthKind, policy: object) -> None:
    assert access_policy(AuthSettings(methods=(kind,)), AccessSettings()) == policy


def test_rules_replace_the_behaviour_of_distribution(load_text: LoadText) -> None:
    settings = load_text(MINIMAL + HTPASSWD + RULES).settings
    policy = access_policy(settings.auth, settings.access)
    [pull] = repository_access("private/app", Doing.PULL)
    assert not policy.allows(Principal(name="bob"), pull)
    assert policy.allows(Principal(name="alice"), pull)
    assert policy.is_blocked(Principal(name="mallory"))


def test_immutable_tags_can_change() -> None:
    name, tag = RepositoryName("prod/app"), Tag("v1")
    kept = TagImmutability(AccessSettings())
    assert not kept(name, tag)
    kept.apply(AccessSettings(immutable_tags=(ImmutableTags(tags=("v*",)),)))
    assert kept(name, tag)


def test_no_tag_of_a_cached_repository_is_immutable(load_text: LoadText) -> None:
    text = "access: {immutabletags: [{tags: ['v*']}]}\nproxy: {upstreams: [{prefix: quay.io, urls: ['https://quay.io']}]}\n"
    kept = Container(settings=load_text(MINIMAL + text).settings).tag_immutability()
    for name, expected in (("prod/app", True), ("quay.io/app", False)):
        assert kept(RepositoryName(name), Tag("v1")) is expected
        assert kept.covers(RepositoryName(name)) is expected


def test_default_secret_of_one_process_is_random(load_text: LoadText) -> None:
    settings = load_text(MINIMAL).settings
    assert Container(settings=settings).shared_secret() != Container(settings=settings).shared_secret()
    named = load_text(MINIMAL, {"REGISTRY_HTTP_SECRET": "s" * 16}).settings
    assert Container(settings=named).shared_secret() == b"s" * 16


@pytest.mark.parametrize(("kind", "warns"), [("scs", True), ("s3", False), ("inmemory", False)])
def test_limits_of_the_storage_are_logged_at_start(load_text: LoadText, caplog, kind: str, *, warns: bool) -> None:
    texts = {
        "scs": SCS,
        "s3": "version: 0.1\nstorage: {s3: {bucket: b, region: us-east-1}}\n",
        "inmemory": MINIMAL,
    }
    settings = load_text(texts[kind] + "access: {immutabletags: [{tags: ['v*']}]}\n").settings
    warn_at_start(build_server_parts(settings))
    assert ("cannot create objects exclusively" in caplog.text) is warns
    caplog.clear()
    plain = load_text(texts[kind]).settings
    warn_at_start(build_server_parts(plain))
    assert "cannot create objects exclusively" not in caplog.text


ANONYMOUS_RULE = "access: {rules: [{who: [anonymous], actions: [pull, delete]}]}\n"


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ("", True),
        ("http: {addr: '0.0.0.0:5000'}\n", True),
        ("http: {addr: 'registry.example:5000'}\n", True),
        ("http: {tls: {certificate: c, key: k}}\n", True),
        ("auth: {htpasswd: {realm: r, path: p}}\n" + ANONYMOUS_RULE, True),
        (ANONYMOUS_RULE.replace(", delete", ""), False),
        ("auth: {htpasswd: {realm: r, path: p}}\n", False),
        ("http: {addr: '127.0.0.1:5000'}\n", False),
        ("http: {addr: '[::1]:5000'}\n", False),
        ("http: {net: unix, addr: /run/r.sock}\n", False),
        ("http: {tls: {certificate: c, key: k, clientcas: [a]}}\n", False),
    ],
)
def test_registry_that_allows_anonymous_deletes_warns(
    load_text: LoadText, caplog: pytest.LogCaptureFixture, text: str, *, warns: bool
) -> None:
    settings = load_text(MINIMAL + text, {"REGISTRY_HTTP_SECRET": "s" * 16}).settings
    warn_at_start(build_server_parts(settings))
    assert ("images can be deleted without a password" in caplog.text) is warns
    assert len(caplog.records) == warns


def test_registry_without_deletes_needs_no_warning(load_text: LoadText, caplog: pytest.LogCaptureFixture) -> None:
    variables = {"REGISTRY_HTTP_SECRET": "s" * 16, "REGISTRY_STORAGE_DELETE_ENABLED": "false"}
    settings = load_text(MINIMAL, variables).settings
    warn_at_start(build_server_parts(settings))
    assert caplog.records == []
