"""Authentication: routes by methods by rights, exact challenges, and responses to anonymous clients."""

import json
import logging
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import product

import pytest
from joserfc.jwk import KeySet

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.silly import SillyAuthenticator
from adapters.auth.token import TokenAuthenticator
from config.settings import HttpSettings, Settings, StorageSettings
from core.model.access import GRANTS_ONLY, MEMBERS_ONLY, AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from tests.http.conftest import error_codes
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.token_keys import ISSUER, REALM, SERVICE, claims, grant, make_key, sign

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

DIGEST = Digest.of(b"")
KEY = make_key("ES256")
PULL, PUSH, DELETE, CATALOG = "pull", "push", "delete", "catalog"
NEEDS_BY_METHOD = {
    "GET": [PULL],
    "HEAD": [PULL],
    "POST": [PULL, PUSH],
    "PUT": [PULL, PUSH],
    "PATCH": [PULL, PUSH],
    "DELETE": [DELETE],
    "PROPFIND": [],
}
REPOSITORY_ROUTES = [
    "/v2/team/app/tags/list",
    "/v2/team/app/manifests/v1",
    f"/v2/team/app/manifests/{DIGEST}",
    f"/v2/team/app/blobs/{DIGEST}",
    "/v2/team/app/blobs/uploads/",
    "/v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000001",
    f"/v2/team/app/referrers/{DIGEST}",
]
RIGHTS = [[], [PULL], [PUSH], [PULL, PUSH], [DELETE], [PULL, PUSH, DELETE], ["*"]]


def token(*access, subject="alice", **changes):
    return "Bearer " + sign(
        {"alg": "ES256", "kid": KEY.thumbprint()},
        claims(access=list(access), subject=subject, now=datetime.now(UTC), **changes),
        KEY,
    )


@pytest.fixture
def key_set(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(KeySet([KEY]).as_dict(private=False)))
    return str(path)


@pytest.fixture
def token_api(start, key_set):
    async def start_one(settings=None, **options):
        authenticator = TokenAuthenticator(
            realm=REALM,
            issuer=ISSUER,
            service=SERVICE,
            key_set_path=key_set,
            now=lambda: datetime.now(UTC),
            **options,
        )
        return await start(settings, authenticator=authenticator, policy=GRANTS_ONLY)

    return start_one


@pytest.fixture
def users_api(start, tmp_path):
    async def start_one(*rules, policy=None, settings=None):
        path = write_htpasswd(tmp_path / "htpasswd", alice="secret", bob="b")
        authenticator = HtpasswdAuthenticator(realm="our realm", path=str(path), clock=time.monotonic)
        return await start(
            settings,
            authenticator=authenticator,
            policy=policy or (AccessPolicy(rules=rules) if rules else MEMBERS_ONLY),
        )

    return start_one


def rule(*who, repositories=("**",), actions=(PULL,)):
    return Rule(who=who, repositories=repositories, actions=tuple(map(RuleAction, actions)))


@asynccontextmanager
async def ask(api, method, path, authorization=None, **headers):
    if authorization is not None:
        headers["Authorization"] = authorization
    async with api.request(method, path, headers=headers) as response:
        yield response


async def status_of(api, method, path, authorization=None, **headers):
    async with ask(api, method, path, authorization, **headers) as response:
        return response.status


@pytest.mark.parametrize("path", REPOSITORY_ROUTES)
async def test_routes_by_methods_by_rights_of_tokens(token_api, path):
    api = await token_api()
    for method, rights in product(NEEDS_BY_METHOD, RIGHTS):
        needs = NEEDS_BY_METHOD[method]
        is_allowed = "*" in rights or set(needs) <= set(rights)
        async with ask(api, method, path, token(grant("team/app", *rights))) as response:
            assert (response.status != 401) is is_allowed, (method, rights)
            assert response.status not in {403, 500}
            if not is_allowed:
                assert response.headers["WWW-Authenticate"] == (
                    f'Bearer realm="{REALM}",service="{SERVICE}",'
                    f'scope="repository:team/app:{",".join(needs)}",error="insufficient_scope"'
                )
        # The same rights elsewhere are none here.
        elsewhere = await status_of(api, method, path, token(grant("team/other", "*")))
        assert (elsewhere == 401) is bool(needs), (method, rights)
        assert await status_of(api, method, path) == 401


@pytest.mark.parametrize("path", REPOSITORY_ROUTES)
async def test_routes_by_methods_by_rights_of_rules(users_api, path):
    for rights in ([], [PULL], [PULL, PUSH], [DELETE], [PULL, PUSH, DELETE], [CATALOG]):
        api = await users_api(
            rule("alice", repositories=("team/*",), actions=rights), rule("bob", repositories=("other",))
        )
        for method, needs in NEEDS_BY_METHOD.items():
            is_allowed = set(needs) <= set(rights)
            status = await status_of(api, method, path, basic("alice", "secret"))
            assert (status != 403) is is_allowed, (method, rights)
            assert status not in {401, 500}
            assert (await status_of(api, method, path, basic("bob", "b")) == 403) is bool(needs)
            assert await status_of(api, method, path) == 401
            assert await status_of(api, method, path, basic("alice", "wrong")) == 401


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_catalog_needs_its_own_right(token_api, method):
    api = await token_api()
    for access, is_allowed in (
        (grant("catalog", "*", kind="registry"), True),
        (grant("catalog", "pull", "push", kind="registry"), False),
        (grant("catalog", "*"), False),
    ):
        async with ask(api, method, "/v2/_catalog", token(access)) as response:
            assert (response.status != 401) is is_allowed
            if not is_allowed:
                assert 'scope="registry:catalog:*"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_base_endpoint_needs_credentials_but_no_right(token_api, users_api, path):
    api = await token_api()
    async with ask(api, "GET", path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == f'Bearer realm="{REALM}",service="{SERVICE}"'
        assert await response.json() == {
            "errors": [{"code": "UNAUTHORIZED", "message": "authentication required", "detail": None}]
        }
    assert await status_of(api, "GET", path, token()) == 200
    api = await users_api()
    async with ask(api, "GET", path) as response:
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, 'Basic realm="our realm"')
    assert await status_of(api, "GET", path, basic("alice", "secret")) == 200


async def test_refusal_names_the_missing_right(token_api):
    api = await token_api()
    path = "/v2/team/app/blobs/uploads/?mount=x&from=other/app"
    async with ask(api, "POST", path) as response:
        body = await response.json()
        challenge = response.headers["WWW-Authenticate"]
        assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert challenge.endswith('scope="repository:team/app:pull,push repository:other/app:pull"')
    assert body["errors"][0]["detail"] == [
        {"Type": "repository", "Class": "", "Name": "team/app", "Action": "pull"},
        {"Type": "repository", "Class": "", "Name": "team/app", "Action": "push"},
        {"Type": "repository", "Class": "", "Name": "other/app", "Action": "pull"},
    ]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"exp": 1}, "invalid_token"), ({"aud": "other"}, "invalid_token"), ({}, "insufficient_scope")],
)
async def test_challenge_names_the_defect_of_a_token(token_api, changes, fault):
    api = await token_api()
    async with ask(api, "GET", "/v2/a/tags/list", token(**changes)) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].endswith(f',error="{fault}"')


async def test_anonymous_clients_cannot_probe_for_names(users_api):
    """The request is refused before the name is read: existing, missing and invalid names get the same response."""
    api = await users_api(rule("alice", actions=("pull", "push")))
    async with ask(api, "PUT", "/v2/there/manifests/v1", basic("alice", "secret")) as response:
        assert response.status == 400
    answers = set()
    for name in ("there", "nowhere", "UPPER", "a" * 300):
        for authorization in (None, basic("bob", "b")):
            async with ask(api, "GET", f"/v2/{name}/tags/list", authorization) as response:
                body = (await response.json())["errors"][0]
                answers.add((response.status, body["code"], body["message"]))
    assert answers == {
        (401, "UNAUTHORIZED", "authentication required"),
        (403, "DENIED", "requested access to the resource is denied"),
    }


async def test_unsupported_operations_are_revealed_to_authenticated_clients_only(users_api):
    api = await users_api(settings=Settings(storage=StorageSettings(delete_enabled=False)))
    path = f"/v2/team/app/blobs/{DIGEST}"
    assert await status_of(api, "DELETE", path) == 401
    assert await status_of(api, "DELETE", path, basic("alice", "secret")) == 405
    assert await status_of(api, "PUT", path) == 401
    assert await status_of(api, "PUT", path, basic("alice", "secret")) == 405


@pytest.mark.parametrize("path", ["/", "/v2/team/app/nothing", "/favicon.ico"])
async def test_unknown_paths_need_no_authentication(users_api, path):
    assert await status_of(await users_api(), "GET", path) == (200 if path == "/" else 404)


async def test_preflight_is_answered_before_authentication(users_api):
    assert await status_of(await users_api(), "OPTIONS", "/v2/team/app/tags/list") == 200


async def test_silly_admits_any_user(start):
    api = await start(authenticator=SillyAuthenticator(realm="r", service="s"), policy=MEMBERS_ONLY)
    async with ask(api, "POST", "/v2/foo/blobs/uploads/") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == (
            'Bearer realm="r",service="s",scope="repository:foo:pull repository:foo:push"'
        )
    assert await status_of(api, "POST", "/v2/foo/blobs/uploads/", "x") == 202
    async with ask(api, "GET", "/v2/") as response:
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="r",service="s"'


async def test_open_registry_requires_no_login(start):
    api = await start()
    assert await status_of(api, "GET", "/v2/") == 200
    assert await status_of(api, "POST", "/v2/foo/blobs/uploads/", "whatever a client sends") == 202


async def test_open_registry_with_rules_denies(start):
    """No user can log in, so a challenge would be pointless."""
    api = await start(policy=AccessPolicy(rules=(rule("anonymous", repositories=("public/**",)),)))
    assert await status_of(api, "GET", "/v2/") == 200
    assert await status_of(api, "GET", "/v2/public/app/tags/list") == 404
    async with ask(api, "POST", "/v2/public/app/blobs/uploads/") as response:
        assert (response.status, await error_codes(response)) == (403, ["DENIED"])


async def test_realm_follows_the_request(token_api):
    api = await token_api(redirect_path="/auth/token")
    headers = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "hub.example:8080"}
    async with ask(api, "GET", "/v2/", **headers) as response:
        assert 'realm="http://hub.example:8080/auth/token"' in response.headers["WWW-Authenticate"]
    async with ask(api, "GET", "/v2/", **{"X-Forwarded-Host": 'evil",x="y'}) as response:
        assert response.headers["WWW-Authenticate"].count('"') == 4


async def test_blocked_user_is_cut_off(users_api):
    api = await users_api(policy=AccessPolicy(rules=MEMBERS_ONLY.rules, blocked=frozenset({"alice"})))
    assert await status_of(api, "GET", "/v2/", basic("alice", "secret")) == 403
    assert await status_of(api, "GET", "/v2/", basic("bob", "b")) == 200


async def test_prefix_is_guarded_too(users_api):
    api = await users_api(settings=Settings(http=HttpSettings(prefix="/hub/")))
    assert await status_of(api, "GET", "/hub/v2/team/app/tags/list") == 401
    assert await status_of(api, "GET", "/v2/team/app/tags/list") == 404


@pytest.mark.parametrize("path", ["/v2/team%2Fapp/tags/list", "/v2/team/../team/app/tags/list"])
async def test_other_spellings_of_a_path_are_guarded_too(users_api, path):
    api = await users_api(rule("alice", repositories=("other",)))
    assert await status_of(api, "GET", path, basic("alice", "secret")) in {403, 404}


async def test_doubled_slash_redirects_to_the_guarded_path(users_api):
    api = await users_api(rule("alice", repositories=("other",)))
    alice = basic("alice", "secret")
    async with ask(api, "GET", "/v2//team/app/tags/list", alice) as response:
        assert (response.status, response.headers["Location"]) == (301, "/v2/team/app/tags/list")
    assert await status_of(api, "GET", "/v2/team/app/tags/list", alice) == 403


async def test_log_names_the_user_and_no_secret(users_api, caplog):
    caplog.set_level(logging.DEBUG)
    api = await users_api()
    assert await status_of(api, "GET", "/v2/", basic("alice", "secret")) == 200
    assert await status_of(api, "GET", "/v2/", basic("alice", "hunter2")) == 401
    assert "hunter2" not in caplog.text
    assert basic("alice", "hunter2").split()[1] not in caplog.text
