"""An issuer of tokens: which tokens it accepts, and when the issuer is asked for its keys."""

import asyncio
import base64
import hmac
import json
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from adapters.auth import issuer_client
from adapters.auth.issuer_options import IssuerOptions, issuer_url_problem, key_set_problem
from adapters.auth.issuers import TOKEN_LENGTH_MAX, Issuer, TokenExpiredError
from core.errors import IssuerUnavailableError
from core.ports.authenticator import CredentialsInvalidError, CredentialSourceError
from tests.support.certificates import Authority
from tests.support.identity_provider import DISCOVERY, JWKS, IdentityProvider, Reply
from tests.support.sockets import only_these_are_open, open_sockets
from tests.support.token_keys import sign

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HERE = ["registry.example"]
HOUR = 3600.0


@dataclass
class Time:
    """A clock that tests move."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def one_provider():
    with IdentityProvider(algorithm="ES256", now=NOW) as running:
        yield running


@pytest.fixture
def provider(one_provider):
    one_provider.keys = {"first": ECKey.generate_key("P-256", auto_kid=False)}
    one_provider.requests.clear()
    one_provider.authorizations.clear()
    one_provider.replies, one_provider.discovery = {}, {}
    one_provider.is_down, one_provider.held = False, None
    one_provider.arrived.clear()
    return one_provider


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
async def start(clock):
    async with AsyncExitStack() as stack:

        async def enter(url, **options):
            issuer = Issuer(IssuerOptions(url=url, **options), now=lambda: NOW, clock=clock)
            return await stack.enter_async_context(issuer)

        yield enter


@pytest.fixture
async def issuer(start, provider):
    return await start(provider.url)


async def refused(issuer, token):
    with pytest.raises(CredentialsInvalidError) as raised:
        await issuer.verify(token, audiences=HERE)
    return str(raised.value)


async def test_valid_token_gives_its_claims(issuer, provider):
    claims = await issuer.verify(provider.token(), audiences=["other", *HERE])
    assert claims["repository"] == "corp/app"
    assert (await issuer.verify(provider.token(aud=["x", *HERE]), audiences=HERE))["aud"] == ["x", *HERE]


async def test_start_contacts_nobody(issuer, provider):
    assert not provider.requests
    await issuer.verify(provider.token(), audiences=HERE)
    assert provider.requests == {DISCOVERY: 1, JWKS: 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another.example"}, {"aud": ["a", "b"]}, {"aud": None}, {"aud": []}, {"aud": {"a": 1}}, {"aud": 7},
        {"iss": "https://evil.example"}, {"iss": None}, {"iss": ["x"]},
        {"exp": None}, {"exp": "tomorrow"}, {"exp": True},
        {"nbf": int(NOW.timestamp()) + 61}, {"nbf": "now"},
        {"iat": int(NOW.timestamp()) + 61}, {"iat": "now"},
    ],
    ids=str,
)  # fmt: skip
async def test_wrong_claim_is_refused(issuer, provider, changes):
    assert "refused" in await refused(issuer, provider.token(**changes))


async def test_clocks_may_differ_by_a_minute(issuer, provider):
    now = int(NOW.timestamp())
    await issuer.verify(provider.token(nbf=now + 59, iat=now + 59), audiences=HERE)
    await issuer.verify(provider.token(exp=now - 59), audiences=HERE)
    for late in (now - 61, -(10**30)):
        with pytest.raises(TokenExpiredError) as raised:
            await issuer.verify(provider.token(exp=late), audiences=HERE)
        assert raised.value.claims["repository"] == "corp/app"


async def test_expired_token_of_another_audience_is_no_expired_token(issuer, provider):
    with pytest.raises(CredentialsInvalidError) as raised:
        await issuer.verify(provider.token(exp=0, aud="x"), audiences=HERE)
    assert not isinstance(raised.value, TokenExpiredError)


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def test_unsigned_and_forged_tokens_are_refused(issuer, provider):
    claims = provider.claims()
    good = provider.token()
    for token in (
        f"{encoded({'alg': 'none', 'kid': 'first'})}.{encoded(claims)}.",
        f"{encoded({'alg': 'None', 'kid': 'first'})}.{encoded(claims)}.",
        f"{good.rpartition('.')[0]}.",
        f"{good.split('.')[0]}.{encoded(claims | {'repository': 'evil/app'})}.{good.split('.')[2]}",
        provider.token() + ".x",
        "",
        "a.b.c",
        "é.é.é",
    ):
        await refused(issuer, token)


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
async def test_public_key_as_secret_of_an_hmac_is_refused(issuer, provider, form):
    key = provider.keys["first"]
    secret = {
        "pem": lambda: key.as_pem(private=False),
        "der": lambda: key.as_der(private=False),
        "jwk": lambda: json.dumps(key.as_dict(private=False)).encode(),
    }[form]()
    signed = f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{encoded(provider.claims())}"
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).decode().rstrip("=")
    await refused(issuer, f"{signed}.{signature}")


async def test_secret_in_a_key_set_verifies_nothing(start, provider):
    secret = OctKey.generate_key(512, auto_kid=False)
    keys = json.loads(provider.key_set)["keys"]
    provider.replies[JWKS] = Reply(json.dumps({"keys": [{**secret.as_dict(), "kid": "oct"}, *keys]}).encode())
    issuer = await start(provider.url)
    await refused(issuer, sign({"alg": "HS256", "kid": "oct"}, provider.claims(), secret))
    await issuer.verify(provider.token(), audiences=HERE)


@pytest.mark.parametrize("member", [{"use": "enc"}, {"alg": "ES384"}])
async def test_key_for_another_purpose_verifies_nothing(start, provider, member):
    [key] = json.loads(provider.key_set)["keys"]
    other = {**ECKey.generate_key("P-256").as_dict(private=False), "kid": "other", "use": "sig"}
    provider.replies[JWKS] = Reply(json.dumps({"keys": [key | member, other]}).encode())
    await refused(await start(provider.url), provider.token())


async def test_key_in_the_header_counts_for_nothing(issuer, provider):
    mine = ECKey.generate_key("P-256", auto_kid=False)
    header = {"alg": "ES256", "jwk": mine.as_dict(private=False), "jku": "http://127.0.0.1:1/keys"}
    await refused(issuer, sign(header, provider.claims(), mine))
    await refused(issuer, sign(header | {"kid": "first"}, provider.claims(), mine))
    assert set(provider.requests) == {DISCOVERY, JWKS}


async def test_token_without_a_key_id_needs_a_single_key(issuer, provider, clock):
    await issuer.verify(provider.token(header={"kid": None}), audiences=HERE)
    provider.rotate("second", keeps_old=True)
    clock.seconds += HOUR
    assert "name its key" in await refused(issuer, provider.token(header={"kid": None}))
    assert "name its key" in await refused(issuer, _with_kid(7, provider))


def _with_kid(kid, provider):
    return f"{encoded({'alg': 'ES256', 'kid': kid})}.{encoded(provider.claims())}.x"


async def test_oversized_token_is_refused_unread(issuer, provider):
    assert "too long" in await refused(issuer, provider.token(padding="x" * TOKEN_LENGTH_MAX))
    assert not provider.requests


async def test_storm_of_unknown_keys_costs_one_request_a_minute(issuer, provider, clock):
    good = provider.token()
    await issuer.verify(good, audiences=HERE)
    for minute in range(1, 4):
        clock.seconds += 60
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(refused(issuer, _with_kid(f"unknown-{number}", provider)))
        assert provider.requests[JWKS] == 1 + minute
    assert provider.requests[DISCOVERY] == 1
    await issuer.verify(good, audiences=HERE)


async def test_rotated_key_is_found_without_a_restart(issuer, provider, clock):
    old = provider.token()
    await issuer.verify(old, audiences=HERE)
    provider.rotate("second")
    assert "not one of the issuer" in await refused(issuer, provider.token())
    clock.seconds += 60
    await issuer.verify(provider.token(), audiences=HERE)
    assert "not one of the issuer" in await refused(issuer, old)


async def test_many_first_callers_share_one_request(issuer, provider):
    token = provider.token()
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(issuer.verify(token, audiences=HERE))
    assert provider.requests == {DISCOVERY: 1, JWKS: 1}


async def test_old_keys_are_fetched_in_the_background(issuer, provider, clock):
    token = provider.token()
    await issuer.verify(token, audiences=HERE)
    provider.held = threading.Event()
    clock.seconds += 900
    await issuer.verify(token, audiences=HERE)
    assert provider.requests[JWKS] <= 2
    provider.held.set()
    await issuer.verify(provider.token(kid="first", header={"kid": "first"}), audiences=HERE)


async def test_withdrawn_key_ends_after_an_hour_at_the_latest(issuer, provider, clock):
    old = provider.token()
    await issuer.verify(old, audiences=HERE)
    provider.rotate("second")
    clock.seconds += HOUR
    assert "not one of the issuer" in await refused(issuer, old)


async def test_known_keys_go_on_for_a_day_while_the_issuer_is_down(issuer, provider, clock):
    token = provider.token()
    await issuer.verify(token, audiences=HERE)
    began = clock.seconds
    provider.is_down = True
    for hours in (0.5, 2, 12, 23.9):
        clock.seconds = began + hours * HOUR
        await issuer.verify(token, audiences=HERE)
    clock.seconds = began + 24 * HOUR
    with pytest.raises(IssuerUnavailableError):
        await issuer.verify(token, audiences=HERE)
    provider.is_down = False
    with pytest.raises(IssuerUnavailableError):
        await issuer.verify(token, audiences=HERE)
    clock.seconds += 60
    await issuer.verify(token, audiences=HERE)


async def test_outage_at_the_first_token_ends_after_ten_seconds(issuer, provider, clock):
    provider.is_down = True
    with pytest.raises(IssuerUnavailableError):
        await issuer.verify(provider.token(), audiences=HERE)
    # The client repeats a GET once when the connection breaks.
    attempted = provider.requests.copy()
    for _ in range(3):
        with pytest.raises(IssuerUnavailableError):
            await issuer.verify(provider.token(), audiences=HERE)
    assert provider.requests == attempted
    provider.is_down = False
    clock.seconds += 10
    await issuer.verify(provider.token(), audiences=HERE)


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        (DISCOVERY, Reply(status=404)),
        (DISCOVERY, Reply(b"[]")),
        (DISCOVERY, Reply(b"[" * 100_000)),
        (DISCOVERY, Reply(b'{"issuer": "https://evil.example"}')),
        (DISCOVERY, Reply(b"x" * (issuer_client.ANSWER_BYTES_MAX + 1))),
        (JWKS, Reply(status=500)),
        (JWKS, Reply(b"{}")),
        (JWKS, Reply(b'{"keys": []}')),
        (JWKS, Reply(b'{"keys": [7, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}')),
        (JWKS, Reply(b"x" * (issuer_client.ANSWER_BYTES_MAX + 1))),
        (JWKS, Reply(status=302, location=DISCOVERY)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.status} {value.body[:20]!r}",
)
async def test_unusable_answer_makes_the_issuer_unavailable(issuer, provider, path, reply):
    provider.replies[path] = reply
    with pytest.raises(IssuerUnavailableError):
        await issuer.verify(provider.token(), audiences=HERE)
    assert provider.requests[path] == 1


async def test_slow_answer_is_given_up(start, provider, monkeypatch):
    monkeypatch.setattr(issuer_client, "TOTAL_SECONDS", 0.05)
    issuer = await start(provider.url)
    provider.held = threading.Event()
    with pytest.raises(IssuerUnavailableError):
        await issuer.verify(provider.token(), audiences=HERE)
    provider.held.set()


async def test_endpoints_are_those_of_the_document(issuer, provider):
    endpoints = await issuer.endpoints()
    assert endpoints.authorization_endpoint == f"{provider.url}/authorize"
    assert endpoints.end_session_endpoint == f"{provider.url}/logout"
    assert endpoints.userinfo_endpoint == ""
    assert endpoints.token_endpoint_auth_methods == {"client_secret_basic"}


async def test_unusable_urls_of_the_document_are_left_out(start, provider):
    provider.discovery = {
        "authorization_endpoint": "javascript:alert(1)", "token_endpoint": 7,
        "end_session_endpoint": "http://x/" + "y" * 3000,
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }  # fmt: skip
    endpoints = await (await start(provider.url)).endpoints()
    assert (endpoints.authorization_endpoint, endpoints.token_endpoint, endpoints.end_session_endpoint) == ("", "", "")
    assert endpoints.token_endpoint_auth_methods == {"client_secret_post"}


async def test_issuer_with_tls_needs_its_authority(start, provider, tmp_path):
    pair = Authority(tmp_path, "cluster").issue("cluster-issuer")
    (tmp_path / "token").write_text("the-token-of-the-pod\n")
    with IdentityProvider(algorithm="ES256", tls=pair, now=NOW) as secure:
        sockets = open_sockets()
        trusting = await start(secure.url, ca=str(pair.authority), token_file=str(tmp_path / "token"))
        await trusting.verify(secure.token(), audiences=HERE)
        assert secure.authorizations == {"Bearer the-token-of-the-pod"}
        with pytest.raises(IssuerUnavailableError):
            await (await start(secure.url)).verify(secure.token(), audiences=HERE)
        # Not without TLS, whatever the document names.
        secure.discovery = {"jwks_uri": provider.url + JWKS}
        with pytest.raises(IssuerUnavailableError):
            await (await start(secure.url, ca=str(pair.authority))).verify(secure.token(), audiences=HERE)
        await only_these_are_open(sockets)
    assert not provider.requests


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff", b"x" * 20_000])
async def test_unusable_token_file_makes_the_issuer_unavailable(start, provider, tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    issuer = await start(provider.url, token_file=str(path))
    with pytest.raises(IssuerUnavailableError):
        await issuer.verify(provider.token(), audiences=HERE)
    assert not provider.requests


async def test_configured_url_of_keys_needs_no_discovery(start, provider):
    issuer = await start(provider.url, jwks=provider.url + JWKS)
    await issuer.verify(provider.token(), audiences=HERE)
    assert provider.requests == {JWKS: 1}


async def test_keys_of_a_file_need_no_request(start, provider, tmp_path):
    path = tmp_path / "keys.json"
    path.write_bytes(provider.key_set)
    issuer = await start(provider.url, jwks=str(path))
    await issuer.verify(provider.token(), audiences=HERE)
    provider.rotate("second")
    await refused(issuer, provider.token())
    path.write_bytes(provider.key_set)
    await issuer.reload()
    await issuer.verify(provider.token(), audiences=HERE)
    assert not provider.requests


async def test_unusable_file_stops_the_start(start, provider, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    for options in (
        {"jwks": "missing"},
        {"jwks": str(tmp_path / "empty")},
        {"ca": "missing"},
        {"ca": str(tmp_path / "empty")},
    ):
        with pytest.raises(CredentialSourceError):
            await start(provider.url, **options)


async def test_closed_issuer_sends_no_request(provider, clock):
    issuer = Issuer(IssuerOptions(url=provider.url), now=lambda: NOW, clock=clock)
    with pytest.raises(IssuerUnavailableError):
        await issuer.verify(provider.token(), audiences=HERE)
    provider.held = threading.Event()
    clock.seconds += 10
    async with issuer:
        task = asyncio.create_task(issuer.verify(provider.token(), audiences=HERE))
        await asyncio.to_thread(provider.arrived.wait)
    provider.held.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_tokens_of_all_asymmetric_algorithms_are_accepted(start, provider, tmp_path):
    rsa = RSAKey.generate_key(2048)
    keys: dict[str, Key] = {"RS256": rsa, "PS256": rsa, "ES384": ECKey.generate_key("P-384")}
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [{**key.as_dict(private=False), "kid": name} for name, key in keys.items()]}))
    issuer = await start(provider.url, jwks=str(path))
    for name, key in keys.items():
        token = sign({"alg": name, "kid": name}, provider.claims(), key)
        assert (await issuer.verify(token, audiences=HERE))["iss"] == provider.url


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("https://issuer.example", True), ("http://127.0.0.1:80/a/", True), ("ftp://x", False), ("issuer", False),
        ("https://u:p@x", False), ("https://x?y", False), ("https://x#y", False), ("https://x/" + "y" * 3000, False),
    ],
)  # fmt: skip
def test_url_of_an_issuer_is_checked(text, is_right):
    assert (issuer_url_problem(text) is None) is is_right


@pytest.mark.parametrize(("text", "is_right"), [("/a/b", True), ("https://x/keys", True), ("ftp://x", False)])
def test_key_set_is_a_url_or_a_path(text, is_right):
    assert (key_set_problem(text) is None) is is_right
