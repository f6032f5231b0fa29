"""An upload session outlives the token that began it: for its owner, for a limited time, and for uploads only."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from joserfc.jwk import KeySet

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from adapters.auth.token import TokenAuthenticator
from config.settings import AccessSettings, Settings
from core.model.access import GRANTS_ONLY, AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.registry.upload_state import GRANTEE_LENGTH_MAX, UploadState, UploadStateCodec
from tests.http.conftest import SECRET
from tests.support.core_services import NOW
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.token_keys import ISSUER, REALM, SERVICE, claims, grant, make_key, sign

KEY = make_key("ES256")
CONTENT = b"a layer that takes long"
DIGEST = Digest.of(CONTENT)
HOURS = timedelta(hours=1)
LIFETIME_HOURS = 6
PUSH = grant("app", "pull", "push")


@pytest.fixture
def clock():
    # Sessions begin by the clock of the services, which stands still.
    return [NOW]


@pytest.fixture
def start_at(start, tmp_path, clock):
    (tmp_path / "jwks.json").write_text(json.dumps(KeySet([KEY]).as_dict(private=False)))

    async def start_one(*, policy=GRANTS_ONLY, lifetime_hours=LIFETIME_HOURS):
        authenticator = TokenAuthenticator(
            realm=REALM,
            issuer=ISSUER,
            service=SERVICE,
            key_set_path=str(tmp_path / "jwks.json"),
            now=lambda: clock[0],
        )
        settings = Settings(access=AccessSettings(upload_lifetime_seconds=lifetime_hours * 3600.0))
        return await start(settings, authenticator=authenticator, policy=policy, now=lambda: clock[0])

    return start_one


def token(*access, subject="alice", now=NOW):
    header = {"alg": "ES256", "kid": KEY.thumbprint()}
    return {"Authorization": "Bearer " + sign(header, claims(access=list(access), subject=subject, now=now), KEY)}


async def begin(api, headers):
    async with api.request("POST", "/v2/app/blobs/uploads/", headers=headers) as response:
        assert response.status == 202
        return response.headers["Location"]


async def status_of(api, method, url, headers, data=b""):
    async with api.request(method, url, headers=headers, data=data) as response:
        return response.status


async def test_push_continues_after_its_token_has_expired(start_at, clock):
    api, alice = await start_at(), token(PUSH)
    location = await begin(api, alice)
    clock[0] += HOURS
    async with api.request("PATCH", location, headers=alice, data=CONTENT) as response:
        assert response.status == 202
        location = response.headers["Location"]
    clock[0] += HOURS
    async with api.request("GET", location, headers=alice) as response:
        assert response.status == 204
    assert await status_of(api, "PUT", f"{location}&digest={DIGEST}", alice) == 201


async def test_expired_token_allows_nothing_else(start_at, clock):
    api, alice = await start_at(), token(PUSH, grant("app", "*"), grant("other", "*"))
    location = await begin(api, alice)
    state = location.partition("?")[2]
    clock[0] += HOURS
    for method, path in (
        ("POST", f"/v2/app/blobs/uploads/?{state}"),
        ("GET", f"/v2/app/tags/list?{state}"),
        ("PUT", f"/v2/app/manifests/v1?{state}"),
        ("GET", f"/v2/?{state}"),
        ("DELETE", location),
        ("PATCH", location.partition("?")[0]),
        ("PATCH", location.replace("/app/", "/other/")),
        ("PATCH", location.replace(location.partition("?")[0][-12:], "0" * 12, 1)),
        ("PATCH", location[:-8]),
        ("PUT", f"{location}&digest={DIGEST}&from=secret"),
    ):
        assert await status_of(api, method, path, alice) == 401, (method, path)
    assert await status_of(api, "PATCH", location, alice, CONTENT) == 202


async def test_another_user_cannot_continue_the_upload(start_at, clock):
    api, alice = await start_at(), token(PUSH)
    location = await begin(api, alice)
    clock[0] += HOURS
    for headers in (None, token(PUSH, subject="bob"), token(PUSH, subject=""), token(grant("app", "pull")), token()):
        assert await status_of(api, "PATCH", location, headers, CONTENT) == 401
    # A client with a valid token needs no memory of the session.
    assert await status_of(api, "PATCH", location, token(PUSH, subject="bob", now=clock[0]), CONTENT) == 202


async def test_session_expires(start_at, clock):
    api, alice = await start_at(), token(PUSH)
    location = await begin(api, alice)
    clock[0] = NOW.replace(microsecond=0) + LIFETIME_HOURS * HOURS - timedelta(seconds=1)
    async with api.request("PATCH", location, headers=alice, data=CONTENT) as response:
        assert response.status == 202
        location = response.headers["Location"]
    clock[0] += timedelta(seconds=1)
    assert await status_of(api, "PUT", f"{location}&digest={DIGEST}", alice) == 401


async def test_grace_for_expired_tokens_can_be_disabled(start_at, clock):
    api, alice = await start_at(lifetime_hours=0), token(PUSH)
    location = await begin(api, alice)
    clock[0] += timedelta(minutes=10)
    assert await status_of(api, "PATCH", location, alice, CONTENT) == 401


async def test_token_must_have_been_valid_when_the_session_began(start_at, clock):
    api = await start_at()
    stale = token(PUSH, now=NOW - 2 * HOURS)
    location = await begin(api, token(PUSH))
    assert await status_of(api, "PATCH", location, stale, CONTENT) == 401


async def test_reading_a_session_gives_no_right_to_write(start_at, clock):
    """A status needs only `pull`; the state signed for it grants no right to push."""
    api, reader = await start_at(), token(grant("app", "pull"))
    location = await begin(api, token(PUSH, subject="bob"))
    async with api.request("GET", location.partition("?")[0], headers=reader) as response:
        assert response.status == 204
        fresh = response.headers["Location"]
    state = UploadStateCodec(SECRET).decode(
        fresh.partition("_state=")[2].replace("%3D", "="),
        name=RepositoryName("app"),
        upload_id=response.headers["Docker-Upload-UUID"],
    )
    assert state.granted_to is None
    clock[0] += HOURS
    also_a_writer = token(grant("app", "pull", "push"))
    for headers in (reader, also_a_writer):
        assert await status_of(api, "PATCH", fresh, headers, CONTENT) == 401


async def test_blocked_user_cannot_continue_an_upload(start_at, clock):
    api, alice = await start_at(), token(PUSH)
    location = await begin(api, alice)
    clock[0] += HOURS
    api = await start_at(policy=AccessPolicy(rules=(), blocked=frozenset({"alice"})))
    assert (
        await status_of(api, "PATCH", api.root + location.partition("/v2")[1] + location.partition("/v2")[2], alice)
        == 403
    )


async def test_state_of_distribution_gives_no_grace(start_at, clock):
    api, alice = await start_at(), token(PUSH)
    location = await begin(api, alice)
    plain = UploadState(
        name=RepositoryName("app"),
        upload_id=location.partition("?")[0][-36:],
        offset=0,
        started_at="2026-11-24T03:47:56Z",
    )
    bare = f"{location.partition('?')[0]}?_state={UploadStateCodec(SECRET).encode(plain)}"
    assert await status_of(api, "PATCH", bare, alice, CONTENT) == 202
    clock[0] += HOURS
    assert await status_of(api, "PATCH", bare, alice, CONTENT) == 401


@pytest.mark.parametrize("started_at", ["", "yesterday", "2026-11-24T03:47:56", "9999"])
async def test_session_without_a_start_time_gives_no_grace(start_at, clock, started_at):
    api, alice = await start_at(), token(PUSH)
    location = await begin(api, alice)
    state = UploadState(
        name=RepositoryName("app"),
        upload_id=location.partition("?")[0][-36:],
        offset=0,
        started_at=started_at,
        granted_to="alice",
    )
    clock[0] += HOURS
    url = f"{location.partition('?')[0]}?_state={UploadStateCodec(SECRET).encode(state)}"
    assert await status_of(api, "PATCH", url, alice, CONTENT) == 401


async def test_removed_user_cannot_continue_an_upload(start, tmp_path, clock):
    """Where the registry knows its users, they are looked up with every piece."""
    users = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    inner = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    rules = Rule(who=("alice", "anonymous"), actions=tuple(RuleAction))
    api = await start(
        authenticator=LoginTokenAuthenticator(inner, accounts=inner, secret=SECRET, now=lambda: clock[0]),
        policy=AccessPolicy(rules=(rules,)),
        now=lambda: clock[0],
    )
    async with api.request("GET", "/auth/token", headers={"Authorization": basic("alice", "secret")}) as response:
        alice = {"Authorization": f"Bearer {(await response.json())['token']}"}
    location = await begin(api, alice)
    clock[0] += HOURS
    async with api.request("PATCH", location, headers=alice, data=CONTENT) as response:
        assert response.status == 202
        location = response.headers["Location"]
    write_htpasswd(users, bob="b")
    assert await status_of(api, "PUT", f"{location}&digest={DIGEST}", alice) == 401


def test_state_contains_the_authorized_user():
    codec = UploadStateCodec(SECRET)
    name, upload_id = RepositoryName("app"), "00000000-0000-4000-8000-000000000001"

    def round_trip(granted_to):
        state = UploadState(name=name, upload_id=upload_id, offset=0, started_at="x", granted_to=granted_to)
        return codec.decode(codec.encode(state), name=name, upload_id=upload_id).granted_to

    assert [round_trip(each) for each in (None, "", "alice", "ü")] == [None, "", "alice", "ü"]
    assert round_trip("x" * (GRANTEE_LENGTH_MAX + 1)) is None


def test_time_of_the_tests_is_utc():
    assert NOW.tzinfo is UTC
    assert datetime(2026, 11, 24, tzinfo=UTC) < NOW
