"""The keys of `auth.oidc`, and what is built from them."""

import subprocess
import sys

import pytest

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from config.container import build_server_parts
from config.container.graph import Container
from entrypoints.process.start_warnings import warn_at_start
from tests.support.configuration import MINIMAL, LoadText, problems_of

ISSUER = "https://id.example/realms/main"
OIDC = f"auth:\n  oidc: {{issuer: {ISSUER}, clientid: registry}}\n"
RULES = "access: {rules: [{who: ['@oidc:dev'], actions: [pull]}]}\n"


def with_keys(text: str) -> str:
    return MINIMAL + OIDC.replace("clientid: registry", f"clientid: registry, {text}") + RULES


def said_about(load_text: LoadText, text: str) -> str:
    return "\n".join(problems_of(load_text, text))


def test_defaults(load_text: LoadText) -> None:
    auth = load_text(MINIMAL + OIDC + RULES).settings.auth
    oidc = auth.oidc
    assert (oidc.connection.url, oidc.connection.ca, oidc.client_id) == (ISSUER, None, "registry")
    assert (oidc.user, oidc.groups, oidc.group_prefix, oidc.when) == (
        "oidc:{preferred_username}",
        "groups",
        "oidc:",
        {},
    )
    assert (oidc.scopes, oidc.remember_seconds, oidc.label) == (
        ("openid", "profile", "email"), 30 * 86400, "single sign-on",
    )  # fmt: skip
    assert (auth.has_users, auth.has_passwords, auth.has_provider) == (True, False, True)


def test_all_keys(load_text: LoadText) -> None:
    text = (
        "clientsecretfile: /s, scopes: [openid, groups], ca: /ca, remember: 7d, label: Corp, "
        "claims: {user: 'corp:{email}', groups: realm_access/roles, groupprefix: 'corp:'}, "
        "when: {email_verified: true, hd: [example.com]}"
    )
    oidc = load_text(with_keys(text).replace("@oidc:dev", "@corp:dev")).settings.auth.oidc
    assert (oidc.client_secret_file, oidc.scopes, oidc.connection.ca) == ("/s", ("openid", "groups"), "/ca")
    assert (oidc.remember_seconds, oidc.label, oidc.prefix) == (7 * 86400, "Corp", "corp:")
    assert (oidc.groups, oidc.group_prefix) == ("realm_access/roles", "corp:")
    assert oidc.when == {"email_verified": ("true",), "hd": ("example.com",)}


def test_secret_is_never_shown(load_text: LoadText) -> None:
    oidc = load_text(with_keys("clientsecret: hush")).settings.auth.oidc
    assert oidc.client_secret is not None
    assert oidc.client_secret.reveal() == "hush"
    assert "hush" not in repr(oidc)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clientsecret: s, clientsecretfile: /s", "`auth.oidc.clientsecretfile`"),
        ("scopes: [profile]", "`auth.oidc.scopes`"),
        ("scopes: ['open id', openid]", "`auth.oidc.scopes[0]`"),
        ("claims: {user: '{preferred_username}'}", "`auth.oidc.claims.user`"),
        ("claims: {user: alice}", "`auth.oidc.claims.user`"),
        ("claims: {groupprefix: corp}", "`auth.oidc.claims.groupprefix`"),
        ("claims: {groupprefix: '@a:'}", "`auth.oidc.claims.groupprefix`"),
        ("when: {hd: ['a b']}", "`auth.oidc.when"),
        ("label: " + "x" * 61, "`auth.oidc.label`"),
        ("remember: 0s", "`auth.oidc.remember`"),
        ("clams: {}", "clams"),
    ],
)
def test_mistakes_stop_the_start(load_text: LoadText, text: str, said: str) -> None:
    assert said in said_about(load_text, with_keys(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + OIDC, "`access.rules`"),
        (MINIMAL + "auth: {oidc: {clientid: c}}\n" + RULES, "`auth.oidc.issuer`"),
        (MINIMAL + "auth: {oidc: }\n" + RULES, "`auth.oidc.issuer`"),
        (MINIMAL + OIDC.replace(ISSUER, "id.example") + RULES, "`auth.oidc.issuer`"),
        (MINIMAL + OIDC + RULES.replace("rules", "groupfile: /g, rules"), "`access.groupfile`"),
    ],
)
def test_sections_must_fit(load_text: LoadText, text: str, said: str) -> None:
    assert said in said_about(load_text, text)


def test_client_certificates_must_not_share_the_prefix(load_text: LoadText) -> None:
    identity = "clientidentity: {from: commonname, prefix: 'oidc:'}"
    tls = f"http: {{tls: {{certificate: /c, key: /k, clientcas: [/ca], {identity}}}}}\n"
    assert "`http.tls.clientidentity.prefix`" in said_about(load_text, MINIMAL + OIDC + RULES + tls)


def test_rules_name_groups_of_the_provider_only(load_text: LoadText) -> None:
    assert "`access.groupfile`" in said_about(load_text, MINIMAL + OIDC + RULES.replace("@oidc:dev", "@dev"))


def test_workloads_must_not_share_the_prefix(load_text: LoadText) -> None:
    workloads = "  workloads: [{issuer: https://ci.example, audiences: [r], when: {sub: x}, user: 'oidc:{sub}'}]\n"
    assert "`auth.oidc.claims.user`" in said_about(load_text, MINIMAL + OIDC + workloads + RULES)
    load_text(MINIMAL + OIDC + workloads.replace("'oidc:", "'ci:") + RULES)


def test_issuer_without_tls_is_warned_about(load_text: LoadText, caplog: pytest.LogCaptureFixture) -> None:
    secret = "http: {secret: a secret of sixteen bytes}\n"
    warn_at_start(build_server_parts(load_text(MINIMAL + OIDC + RULES + secret).settings))
    assert "has no TLS" not in caplog.text
    warn_at_start(build_server_parts(load_text(MINIMAL + OIDC.replace("https:", "http:") + RULES + secret).settings))
    assert "the issuer http://id.example/realms/main has no TLS" in caplog.text


@pytest.mark.parametrize("others", ["", "  htpasswd: {realm: r, path: /p}\n"])
def test_users_of_a_provider_have_keys_and_tokens(load_text: LoadText, others: str) -> None:
    container = Container(settings=load_text(MINIMAL + OIDC + others + RULES).settings)
    authenticator = container.server_application().authenticator
    assert isinstance(authenticator, LoginTokenAuthenticator | AccessKeyAuthenticator)
    assert container.server_application().external is not None


def test_nothing_of_a_provider_is_imported_without_one() -> None:
    code = (
        "import sys; from config.container.graph import Container; from config.settings import *; "
        "application = Container(settings=Settings()).server_application(); "
        "assert application.external is None; "
        "print([name for name in sys.modules if name in "
        "{'adapters.auth.oidc', 'adapters.auth.issuers', 'adapters.auth.external_accounts', "
        "'core.external_users.service', 'core.external_users.sign_in', 'joserfc'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
