"""Tokens of workloads as bearer tokens and as passwords, directly and in exchange for a token of the registry."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from joserfc.jwk import ECKey, KeySet

from adapters.auth.combined import CombinedAuthenticator
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.issuer_options import IssuerOptions
from adapters.auth.login_tokens import LoginTokenAuthenticator, TokenServer
from adapters.auth.passwordless import PasswordlessAuthenticator
from adapters.auth.token import TokenAuthenticator
from adapters.auth.workloads import TrustedWorkloads, WorkloadAuthenticator
from config.settings import AuditSettings, Settings
from core.model.access import MEMBERS_ONLY, AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from core.model.workloads import WorkloadRule
from tests.http.conftest import SECRET
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.identity_provider import IdentityProvider
from tests.support.token_keys import ISSUER, REALM, SERVICE, claims, grant, sign

BLOB = Digest.of(b"x")
RULES = (
    Rule(who=("@ci",), repositories=("corp/**",), actions=(RuleAction.PULL,)),
    Rule(who=("gha:corp/app",), repositories=("corp/app",), actions=(RuleAction.PULL, RuleAction.PUSH)),
    Rule(who=("alice",), repositories=("**",), actions=tuple(RuleAction)),
)
WORKLOAD = WorkloadRule(
    audiences=("registry.example",), when={"repository": ("corp/*",)}, user="gha:{repository}", groups=("ci",)
)


class Now:
    """The current time, which tests can shift."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift


@pytest.fixture
def now():
    return Now()


@pytest.fixture(scope="module")
def provider():
    with IdentityProvider(algorithm="ES256") as running:
        yield running


@pytest.fixture
def workloads(provider, now):
    trusted = [TrustedWorkloads(IssuerOptions(url=provider.url), WORKLOAD)]
    return WorkloadAuthenticator(trusted, now=now, clock=lambda: now().timestamp())


@pytest.fixture
def users(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret", gha="other")
    return HtpasswdAuthenticator(realm="r", path=str(path), clock=lambda: 0.0)


@pytest.fixture
async def api(start, users, workloads, now):
    combined = CombinedAuthenticator(users, workloads=workloads)
    authenticator = LoginTokenAuthenticator(combined, accounts=users, secret=SECRET, now=now)
    return await start(authenticator=authenticator, policy=AccessPolicy(rules=RULES))


async def status(api, authorization, name="corp/app", method="POST"):
    path = f"/v2/{name}/blobs/uploads/?digest={BLOB}" if method == "POST" else f"/v2/{name}/blobs/{BLOB}"
    data = b"x" if method == "POST" else None
    headers = {"Authorization": authorization} if authorization else {}
    async with api.request(method, path, data=data, headers=headers) as response:
        return response.status


async def exchange(api, authorization):
    async with api.request("GET", "/auth/token", headers={"Authorization": authorization}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("form", ["password", "bearer", "exchanged", "exchanged bearer"])
async def test_workload_pushes_and_pulls_by_the_rules(api, provider, form):
    token = provider.token()
    sent = f"Bearer {token}" if "bearer" in form else basic("oauth2", token)
    if "exchanged" in form:
        code, answer = await exchange(api, sent)
        assert (code, answer["expires_in"]) == (200, 300)
        sent = f"Bearer {answer['token']}"
    assert await status(api, sent) == 201
    assert await status(api, sent, method="GET") == 200
    assert await status(api, sent, "corp/other") == 403
    assert await status(api, sent, "corp/other", "GET") == 404
    assert await status(api, sent, method="DELETE") == 403


async def test_users_log_in_as_before(api):
    assert await status(api, basic("alice", "secret"), "any/app") == 201
    assert await status(api, basic("alice", "wrong"), "any/app") == 401
    code, answer = await exchange(api, basic("alice", "secret"))
    assert (code, await status(api, f"Bearer {answer['token']}")) == (200, 201)
    assert (await exchange(api, "Bearer x.y.z"))[0] == 401


async def test_challenge_names_the_token_endpoint(api):
    async with api.request("GET", "/v2/") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith(f'Bearer realm="{api.root}/auth/token"')


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another.example"},
        {"repository": "evil/app"},
        {"repository": None},
        {"repository": "corp/a b"},
        {"exp": 0},
        {"nbf": 2**40},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v2/", "/auth/token"])
async def test_other_token_of_the_issuer_is_refused(api, provider, changes, path):
    token = provider.token(**changes)
    for authorization in (basic("x", token), f"Bearer {token}"):
        async with api.request("GET", path, headers={"Authorization": authorization}) as response:
            assert response.status == 401
            assert token not in await response.text()


async def test_issuer_that_is_not_configured_is_never_contacted(api):
    with IdentityProvider(algorithm="ES256") as stranger:
        token = stranger.token()
        for authorization in (basic("x", token), f"Bearer {token}"):
            assert await status(api, authorization) == 401
            assert (await exchange(api, authorization))[0] == 401
        forged = stranger.token(iss="https://token.actions.githubusercontent.com")
        assert await status(api, f"Bearer {forged}") == 401
    assert not stranger.requests


async def test_token_of_another_key_that_names_the_issuer_is_refused(api, provider):
    forged = sign({"alg": "ES256", "kid": "first"}, provider.claims(), ECKey.generate_key("P-256", auto_kid=False))
    assert await status(api, f"Bearer {forged}") == 401


async def test_issued_token_ends_with_the_token_of_the_workload(api, provider, now):
    soon = int(now().timestamp()) + 30
    code, answer = await exchange(api, basic("x", provider.token(exp=soon)))
    assert code == 200
    # The registry accepts the workload's token for one minute more.
    assert 80 <= answer["expires_in"] <= 90
    assert await status(api, f"Bearer {answer['token']}") == 201
    now.shift = timedelta(seconds=91)
    assert await status(api, f"Bearer {answer['token']}") == 401


async def test_issued_token_cannot_be_exchanged(api, provider):
    _, answer = await exchange(api, basic("x", provider.token()))
    assert (await exchange(api, f"Bearer {answer['token']}"))[0] == 401


async def test_issued_token_cannot_be_changed(api, provider):
    _, answer = await exchange(api, basic("x", provider.token()))
    head, payload, signature = answer["token"].split(".")
    known = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    changed = base64.urlsafe_b64encode(json.dumps(known | {"sub": "alice"}).encode()).decode().rstrip("=")
    assert await status(api, f"Bearer {head}.{changed}.{signature}") == 401


async def test_name_of_a_user_does_not_meet_that_of_a_workload(api, provider):
    # The name before the colon is that of a user in the file, who has no rights here.
    assert await status(api, basic("gha", "other")) == 403
    assert await status(api, basic("gha:corp/app", "other")) == 401
    token = provider.token(repository="corp/app", sub="alice", preferred_username="alice")
    assert await status(api, basic("alice", token), "any/app") == 403


async def test_blocked_workload_is_refused_with_its_tokens(start, users, workloads, now, provider):
    combined = CombinedAuthenticator(users, workloads=workloads)
    authenticator = LoginTokenAuthenticator(combined, accounts=users, secret=SECRET, now=now)
    policy = AccessPolicy(rules=MEMBERS_ONLY.rules, blocked=frozenset({"gha:corp/app"}))
    api = await start(authenticator=authenticator, policy=policy)
    _, answer = await exchange(api, basic("x", provider.token()))
    assert await status(api, f"Bearer {answer['token']}") == 403
    assert await status(api, basic("x", provider.token(repository="corp/other"))) == 201


async def test_upload_outlives_the_token_that_began_it(start, services, provider, monkeypatch):
    clock = [services.now()]
    monkeypatch.setattr(provider, "now", clock[0])
    trusted = [TrustedWorkloads(IssuerOptions(url=provider.url), WORKLOAD)]
    authenticator = WorkloadAuthenticator(trusted, now=lambda: clock[0], clock=lambda: 0.0)
    api = await start(authenticator=authenticator, policy=AccessPolicy(rules=RULES), now=lambda: clock[0])
    token = provider.token()
    headers = {"Authorization": basic("x", token)}
    async with api.request("POST", "/v2/corp/app/blobs/uploads/", headers=headers) as response:
        location = response.headers["Location"]
    clock[0] += timedelta(minutes=10)
    async with api.request("PUT", f"{location}&digest={BLOB}", data=b"x", headers=headers) as response:
        assert response.status == 201, await response.text()
    assert await status(api, basic("x", token)) == 401


async def test_outage_of_the_issuer_is_no_wrong_password(start, now):
    with IdentityProvider(algorithm="ES256") as other:
        trusted = [TrustedWorkloads(IssuerOptions(url=other.url), WORKLOAD)]
        alone = WorkloadAuthenticator(trusted, now=now, clock=lambda: 0.0)
        combined = CombinedAuthenticator(PasswordlessAuthenticator(), workloads=alone)
        api = await start(authenticator=TokenServer(combined, secret=SECRET, now=now), policy=MEMBERS_ONLY)
        other.is_down = True
        assert await status(api, basic("x", other.token())) == 503
        code, answer = await exchange(api, basic("x", other.token()))
        assert (code, answer["errors"][0]["code"]) == (503, "UNAVAILABLE")
        assert other.url not in json.dumps(answer)
        assert await status(api, basic("x", "y")) == 401
        assert await status(api, None) == 401


async def test_token_of_a_token_server_cannot_be_exchanged(start, tmp_path, users, workloads, now):
    key = ECKey.generate_key("P-256", auto_kid=False)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    tokens = TokenAuthenticator(realm=REALM, issuer=ISSUER, service=SERVICE, key_set_path=str(path), now=now)
    combined = CombinedAuthenticator(users, tokens=tokens, workloads=workloads)
    authenticator = LoginTokenAuthenticator(combined, accounts=users, secret=SECRET, now=now)
    api = await start(authenticator=authenticator, policy=AccessPolicy(rules=RULES))
    rights = claims(access=[grant("corp/app", "pull", "push")], subject="alice", now=now())
    token = f"Bearer {sign({'alg': 'ES256', 'kid': key.thumbprint()}, rights, key)}"
    assert await status(api, token) == 201
    # `alice` of the token server is not `alice` of the file, who may do everything.
    assert await status(api, token, "any/app") == 401
    assert (await exchange(api, token))[0] == 401


async def test_audit_names_the_workload(start, users, workloads, now, provider):
    log = ListAuditLog()
    combined = CombinedAuthenticator(users, workloads=workloads)
    authenticator = LoginTokenAuthenticator(combined, accounts=users, secret=SECRET, now=now)
    settings = Settings(audit=AuditSettings(stdout=True))
    api = await start(settings, authenticator=authenticator, policy=AccessPolicy(rules=RULES), audit_log=log)
    _, answer = await exchange(api, basic("x", provider.token()))
    assert await status(api, f"Bearer {answer['token']}") == 201
    assert await status(api, basic("x", provider.token())) == 201
    assert {(event.actor, event.login) for event in log.events} == {("gha:corp/app", "workload")}
    assert len(log.events) == 3


async def test_workload_opens_no_session(api, provider):
    page = await Visitor(api).sign_in("alice", provider.token())
    assert page.status == 403


async def test_page_without_users_shows_no_sign_in(start, workloads, now):
    combined = CombinedAuthenticator(PasswordlessAuthenticator(), workloads=workloads)
    authenticator = TokenServer(combined, secret=SECRET, now=now)
    api = await start(authenticator=authenticator, policy=AccessPolicy(rules=RULES))
    assert "sign-in" not in (await Visitor(api).open()).text
