"""Effects of access rules on lists, mounts and logins."""

import hmac
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LIFETIME, LoginTokenAuthenticator
from core.model import media_types
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from tests.http.conftest import SECRET, error_codes
from tests.support.content import image_manifest
from tests.support.htpasswd import basic, write_htpasswd

ALICE, BOB = {"Authorization": basic("alice", "secret")}, {"Authorization": basic("bob", "b")}
EVERYTHING = ("pull", "push", "delete", "catalog")


def rule(*who, repositories=("**",), actions=("pull",)):
    return Rule(who=who, repositories=repositories, actions=tuple(map(RuleAction, actions)))


@pytest.fixture
def clock():
    return [datetime.now(UTC)]


@pytest.fixture
def users(tmp_path):
    return write_htpasswd(tmp_path / "htpasswd", alice="secret", bob="b")


@pytest.fixture
def start_with(start, users, clock):
    """A registry with a password file that issues its own tokens, as with rules for anonymous users."""

    async def start_one(*rules):
        inner = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
        authenticator = LoginTokenAuthenticator(inner, accounts=inner, secret=SECRET, now=lambda: clock[0])
        return await start(authenticator=authenticator, policy=AccessPolicy(rules=rules))

    return start_one


async def get(api, path, headers=None):
    async with api.request("GET", path, headers=headers) as response:
        return response.status, await response.json(content_type=None), response.headers


async def fill(api, *names):
    for name in names:
        content = image_manifest()
        for url, data, kind in (
            (f"/v2/{name}/blobs/uploads/?digest={Digest.of(b'{}')}", b"{}", "application/octet-stream"),
            (f"/v2/{name}/manifests/v1", content, media_types.OCI_MANIFEST),
        ):
            method = "POST" if "uploads" in url else "PUT"
            async with api.request(method, url, data=data, headers=ALICE | {"Content-Type": kind}) as response:
                assert response.status == 201, await response.text()


async def catalog_pages(api, headers, n):
    pages: list[list[str]] = []
    path: str | None = f"/v2/_catalog?n={n}"
    while path:
        status, body, answered = await get(api, path, headers)
        assert status == 200
        pages.append(body["repositories"])
        link = answered.get("Link")
        path = link.removeprefix("<").removesuffix('>; rel="next"') if link else None
    return pages


async def test_catalog_shows_what_may_be_pulled_in_full_pages(start_with):
    api = await start_with(
        rule("alice", actions=EVERYTHING),
        rule("authenticated", actions=("catalog",)),
        rule("bob", repositories=("team/*", "z")),
    )
    names = [f"{kind}/{number:02}" for number in range(12) for kind in ("secret", "team")]
    await fill(api, "a", *names, "zz")
    mine = sorted(name for name in names if name.startswith("team"))
    assert await catalog_pages(api, BOB, 5) == [mine[:5], mine[5:10], mine[10:]]
    # No page announces an empty next page, which would reveal hidden repositories.
    assert await catalog_pages(api, BOB, 6) == [mine[:6], mine[6:]]
    assert await catalog_pages(api, BOB, 12) == [mine]
    assert await catalog_pages(api, ALICE, 100) == [sorted(["a", *names, "zz"])]


async def test_catalog_of_a_user_without_rights_is_empty(start_with):
    api = await start_with(rule("alice", actions=EVERYTHING), rule("bob", actions=("catalog",)))
    await fill(api, "a", "b")
    assert await catalog_pages(api, ALICE, 1) == [["a"], ["b"]]
    await fill(api, "c")
    api = await start_with(rule("alice", actions=EVERYTHING), rule("bob", actions=("catalog",), repositories=("x",)))
    await fill(api, "a", "b")
    status, body, headers = await get(api, "/v2/_catalog?n=1", BOB)
    assert (status, body, "Link" in headers) == (200, {"repositories": []}, False)


async def test_catalog_without_its_right_is_denied(start_with):
    api = await start_with(rule("alice", actions=EVERYTHING), rule("anonymous", actions=("pull",)))
    assert (await get(api, "/v2/_catalog", BOB))[0] == 403
    assert (await get(api, "/v2/_catalog"))[0] == 401


async def test_mount_requires_the_right_to_pull_from_the_source(start_with):
    api = await start_with(
        rule("alice", actions=EVERYTHING), rule("bob", repositories=("bob/*", "open"), actions=("pull", "push"))
    )
    await fill(api, "secret", "open")
    digest = Digest.of(b"{}")
    for query, headers, expected in (
        (f"mount={digest}&from=secret", BOB, 403),
        (f"mount={digest}&from=nowhere", BOB, 403),
        # Without `from` the blob could lie anywhere, so a session begins instead (end-11).
        (f"mount={digest}", BOB, 202),
        (f"mount={digest}&from=", BOB, 202),
        (f"mount={digest}&from=open", BOB, 201),
        (f"mount={digest}", ALICE, 201),
    ):
        name = "bob/app" if headers is BOB else "alice/app"
        async with api.request("POST", f"/v2/{name}/blobs/uploads/?{query}", headers=headers) as response:
            assert response.status == expected, query
        async with api.request("GET", f"/v2/bob/app/blobs/{digest}", headers=BOB) as response:
            assert (response.status == 200) is (expected == 201), query


PUBLIC = (rule("anonymous"), rule("alice", actions=EVERYTHING))


def realm_of(challenge):
    parameters = dict(part.split("=", 1) for part in challenge.removeprefix("Bearer ").split(","))
    return parameters["realm"].strip('"'), parameters


async def login(api, headers=None):
    """Log in as docker does: request the root, follow the challenge, return with the token."""
    async with api.request("GET", "/v2/", headers=headers) as response:
        assert response.status in {200, 401}
        challenge = response.headers.get("WWW-Authenticate")
    if challenge is None:
        async with api.request("GET", "/v2/") as response:
            challenge = response.headers["WWW-Authenticate"]
    realm, parameters = realm_of(challenge)
    assert realm == f"{api.root}/auth/token"
    assert parameters["service"].strip('"')
    async with api.request(
        "GET", f"{realm}?service=x&account=alice&scope=repository:a:pull", headers=headers
    ) as response:
        if response.status != 200:
            return response.status, None
        body = await response.json()
        assert response.headers["Cache-Control"] == "no-store"
    assert body["token"] == body["access_token"]
    assert body["expires_in"] == LIFETIME.total_seconds()
    assert datetime.fromisoformat(body["issued_at"]).tzinfo
    return 200, {"Authorization": f"Bearer {body['token']}"}


async def test_anonymous_clients_pull_and_users_push(start_with):
    api = await start_with(*PUBLIC)
    await fill(api, "app")
    # Plain clients send the request at once; docker first logs in anonymously.
    _, nobody = await login(api)
    for headers in (None, nobody, BOB):
        assert (await get(api, "/v2/app/manifests/v1", headers))[0] == 200
    _, alice = await login(api, ALICE)
    for headers, expected in ((None, 401), (nobody, 401), (BOB, 403), (alice, 202), (ALICE, 202)):
        async with api.request("POST", "/v2/app/blobs/uploads/", headers=headers) as response:
            assert response.status == expected
            if expected == 401:
                assert response.headers["WWW-Authenticate"].startswith("Bearer realm=")
                assert 'scope="repository:app:pull,push"' in response.headers["WWW-Authenticate"]


async def test_login_is_checked(start_with):
    api = await start_with(*PUBLIC)
    status, alice = await login(api, ALICE)
    assert status == 200
    assert (await get(api, "/v2/", alice))[0] == 200
    wrong = {"Authorization": basic("alice", "wrong")}
    async with api.request("GET", "/auth/token", headers=wrong) as response:
        assert (response.status, await error_codes(response)) == (401, ["UNAUTHORIZED"])
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
    async with api.request("GET", "/v2/", headers=wrong) as response:
        assert response.status == 401


async def test_token_is_not_exchanged_for_another_token(start_with):
    api = await start_with(*PUBLIC)
    _, alice = await login(api, ALICE)
    async with api.request("GET", "/auth/token", headers=alice) as response:
        assert response.status == 401


async def test_token_for_another_purpose_is_refused_as_a_login(start_with):
    api = await start_with(*PUBLIC)
    key = OctKey.import_key(hmac.digest(SECRET, b"login tokens", "sha256"))
    for claims in ({"aud": "other", "exp": 2**40}, {"aud": "registry-login"}, {"exp": 2**40}):
        forged = jwt.encode({"alg": "HS256"}, {"sub": "alice"} | claims, key)
        assert (await get(api, "/v2/", {"Authorization": f"Bearer {forged}"}))[0] == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_token_endpoint_accepts_reading_methods_only(start_with, method):
    api = await start_with(*PUBLIC)
    async with api.request(method, "/auth/token", headers=ALICE) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


async def test_login_token_expires(start_with, clock):
    api = await start_with(*PUBLIC)
    _, alice = await login(api, ALICE)
    clock[0] += LIFETIME + timedelta(seconds=1)
    async with api.request("GET", "/v2/", headers=alice) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].endswith('error="invalid_token"')


async def test_removed_user_is_cut_off_with_the_token(start_with, users):
    api = await start_with(*PUBLIC)
    _, alice = await login(api, ALICE)
    write_htpasswd(users, bob="b")
    assert (await get(api, "/v2/", alice))[0] == 401


async def test_upload_state_is_refused_as_a_login(start_with):
    """Both are signed with the one secret, and neither may stand for the other."""
    api = await start_with(*PUBLIC)
    async with api.request("POST", "/v2/app/blobs/uploads/", headers=ALICE) as response:
        state = response.headers["Location"].partition("_state=")[2]
    assert (await get(api, "/v2/", {"Authorization": f"Bearer {state}"}))[0] == 401
