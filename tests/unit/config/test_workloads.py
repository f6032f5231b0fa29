"""The keys of `auth.workloads`, and the methods that can be combined."""

import pytest

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator, TokenServer
from config.container.graph import Container
from config.policies import access_policy
from core.model.access import MEMBERS_ONLY
from tests.support.configuration import MINIMAL, LoadText, problems_of

GITHUB = """
  - issuer: https://token.actions.githubusercontent.com
    audiences: [registry.example]
    when: {repository: 'corp/*', ref: [refs/heads/main, 'refs/tags/*']}
    user: 'gha:{repository}'
    groups: [ci]
"""
CLUSTER = """
  - issuer: https://kubernetes.default.svc.cluster.local
    audiences: registry.example
    jwks: https://kubernetes.default.svc/openid/v1/jwks
    ca: /ca.crt
    tokenfile: /token
    when: {kubernetes.io/namespace: prod}
    user: 'k8s:{sub}'
"""
HTPASSWD = "  htpasswd: {realm: r, path: /p}\n"
TOKEN = "  token: {realm: r, issuer: i, service: s, jwks: /k}\n"


def auth(*entries, others=""):
    return f"{MINIMAL}auth:\n{others}  workloads:{''.join(entries)}"


def test_entries_are_parsed(load_text: LoadText) -> None:
    github, cluster = load_text(auth(GITHUB, CLUSTER)).settings.auth.workloads
    assert github.when == {"repository": ("corp/*",), "ref": ("refs/heads/main", "refs/tags/*")}
    assert (github.audiences, github.user, github.groups) == (("registry.example",), "gha:{repository}", ("ci",))
    assert (github.connection.key_url, github.connection.key_file) == (None, None)
    assert cluster.when == {"kubernetes.io/namespace": ("prod",)}
    assert cluster.connection.key_url == "https://kubernetes.default.svc/openid/v1/jwks"
    assert (cluster.connection.ca, cluster.connection.token_file) == ("/ca.crt", "/token")


def test_entries_can_be_variables(load_text: LoadText) -> None:
    variables = {
        "REGISTRY_AUTH_WORKLOADS_0_ISSUER": "https://issuer.example",
        "REGISTRY_AUTH_WORKLOADS_0_AUDIENCES": "[registry.example]",
        "REGISTRY_AUTH_WORKLOADS_0_WHEN_PROJECT_PATH_0": "corp/*",
        "REGISTRY_AUTH_WORKLOADS_0_USER": "gitlab:{project_path}",
    }
    [entry] = load_text(MINIMAL, variables).settings.auth.workloads
    assert entry.when == {"project_path": ("corp/*",)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("registry.example", "", "`auth.workloads[0].audiences`"),
        ("    when: {repository: 'corp/*', ref: [refs/heads/main, 'refs/tags/*']}\n", "", "`auth.workloads[0].when`"),
        ("{repository: 'corp/*', ref: [refs/heads/main, 'refs/tags/*']}", "{}", "restrict the claims"),
        ("'corp/*'", "''", "must be a glob"),
        ("gha:{repository}", "{repository}", "must begin with text that ends with `:`"),
        ("gha:{repository}", "alice", "must begin with text that ends with `:`"),
        ("[ci]", "['{team}']", "must begin with text that ends with `:`"),
        ("https://token.actions", "ftp://token.actions", "must be a URL"),
        ("groups:", "group:", "is not a"),
        ("    groups: [ci]\n", "    jwks: http://keys.example\n", "must be an https URL"),
        ("    groups: [ci]\n", "    jwks: ftp://keys.example\n", "must be an http(s) URL"),
    ],
)
def test_unsafe_entry_is_refused(load_text: LoadText, old: str, new: str, said: str) -> None:
    problems = problems_of(load_text, auth(GITHUB.replace(old, new)))
    assert any(said in problem for problem in problems), problems


def test_two_issuers_cannot_share_a_prefix(load_text: LoadText) -> None:
    problems = problems_of(load_text, auth(GITHUB, CLUSTER.replace("k8s:", "gha:")))
    assert any("must not begin with gha:, as users of another issuer do" in each for each in problems), problems


def test_entries_of_one_issuer_reach_it_in_the_same_way(load_text: LoadText) -> None:
    load_text(auth(GITHUB, GITHUB.replace("corp/*", "corp/other")))
    problems = problems_of(load_text, auth(CLUSTER, CLUSTER.replace("    ca: /ca.crt\n", "")))
    assert any("`auth.workloads[1].issuer` needs the same jwks" in each for each in problems), problems


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ("", TokenServer),
        (HTPASSWD, LoginTokenAuthenticator),
        (TOKEN, TokenServer),
        (HTPASSWD + TOKEN, LoginTokenAuthenticator),
    ],
)
def test_workloads_combine_with_other_methods(load_text: LoadText, others: str, kind: type) -> None:
    settings = load_text(auth(GITHUB, others=others) + "access: {rules: [{who: ['@ci'], actions: [pull]}]}\n").settings
    assert type(Container(settings=settings).authenticator()) is kind


def test_misspelt_group_is_found(load_text: LoadText) -> None:
    rules = "access: {rules: [{who: ['@cj'], actions: [pull]}]}\n"
    assert any("a rule names a group" in each for each in problems_of(load_text, auth(GITHUB) + rules))


def test_certificates_cannot_share_a_prefix(load_text: LoadText) -> None:
    tls = "http: {tls: {certificate: c, key: k, clientcas: [a], clientidentity: {from: uri, prefix: 'gha:'}}}\n"
    assert any("must differ from the prefixes" in each for each in problems_of(load_text, auth(GITHUB) + tls))


def test_methods_for_tests_and_openness_do_not_combine(load_text: LoadText) -> None:
    for other in ("  silly: {realm: r, service: s}\n", "  none: {}\n"):
        assert any("selects 2 methods" in each for each in problems_of(load_text, auth(GITHUB, others=other)))


def test_empty_list_selects_nothing(load_text: LoadText) -> None:
    settings = load_text(f"{MINIMAL}auth:\n{HTPASSWD}  workloads: []\n").settings
    assert type(Container(settings=settings).authenticator()) is AccessKeyAuthenticator


def test_without_rules_workloads_are_members(load_text: LoadText) -> None:
    settings = load_text(auth(GITHUB, others=TOKEN)).settings
    assert access_policy(settings.auth, settings.access) == MEMBERS_ONLY
