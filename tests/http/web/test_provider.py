"""Signing in at an identity provider, and everything that is refused on the way."""

import itertools
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import OctKey

from adapters.auth import oidc
from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.external_accounts import ExternalAccounts
from adapters.auth.issuer_options import IssuerOptions
from adapters.auth.issuers import Issuer
from adapters.auth.oidc import OidcClient, OidcProvider
from adapters.auth.passwordless import PasswordlessAuthenticator
from config.settings import AuditSettings, AuthKind, AuthSettings, HttpSettings, Settings
from core.access_keys.service import AccessKeys
from core.errors import StorageUnavailableError
from core.external_users.identities import IdentityRules
from core.external_users.service import ExternalUsers
from core.external_users.sign_in import ExternalSignIn
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.secret import Secret
from tests.http.conftest import operations_on
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import READERS, ROOT, Visitor
from tests.support.identity_provider import DISCOVERY, Reply
from tests.support.sign_in_provider import CLIENT, SECRET, People, SignInProvider, unsigned
from tests.support.token_keys import sign

RULES = (
    *READERS,
    Rule(who=("@oidc:dev",), repositories=("team/**",), actions=(RuleAction.PULL, RuleAction.PUSH)),
)
OIDC = Settings(auth=AuthSettings(methods=(AuthKind.OIDC,)), audit=AuditSettings(stdout=True))
ALICE = "oidc:alice"


@pytest.fixture(scope="module")
def one_provider():
    with SignInProvider(algorithm="ES256") as running:
        yield running


@pytest.fixture
def provider(one_provider, clock):
    one_provider.people = People()
    one_provider.faults = []
    one_provider.requests.clear()
    one_provider.replies, one_provider.discovery = {}, {}
    one_provider.is_down, one_provider.now = False, clock[0]
    one_provider.redirect_uris = set()
    return one_provider


@pytest.fixture
async def stack():
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def replica(start, services, provider, clock, stack):
    """Start one more replica of a registry whose users sign in at the provider."""
    numbers = itertools.count(1)

    async def start_one(settings=OIDC, *, client=None, rules=None, **options):
        def entropy(count):
            return next(numbers).to_bytes(count, "big")

        def time():
            return next(numbers) * 10.0

        users = ExternalUsers(
            services.storage, remember=timedelta(days=30), entropy=entropy, clock=time, now=lambda: clock[0]
        )
        keys = AccessKeys(services.storage, entropy=entropy, clock=time, now=lambda: clock[0])
        issuer = Issuer(IssuerOptions(url=provider.url), now=lambda: clock[0], clock=time)
        client = client or OidcClient(id=CLIENT, secret=Secret(SECRET))
        external = ExternalSignIn(
            await stack.enter_async_context(OidcProvider(issuer, client)),
            users,
            rules or IdentityRules(),
            client=f"{provider.url} {client.id}",
            label="Example",
        )
        api = await start(
            settings,
            authenticator=AccessKeyAuthenticator(PasswordlessAuthenticator(), keys, accounts=ExternalAccounts(users)),
            policy=AccessPolicy(rules=RULES),
            now=lambda: clock[0],
            operations=operations_on(services, keys, external),
            **options,
        )
        provider.redirect_uris.add(f"{api.root}/ui/_callback")
        return api

    return start_one


@pytest.fixture
async def visitor(replica):
    return Visitor(await replica())


async def begin(visitor, following=""):
    """Follow the link to the provider; return the path and the query with which the provider sends the browser back."""
    page = await visitor.open(f"_sign-in?{urlencode({'next': following})}")
    [link] = [link for link in page.links if "_provider" in link]
    left = await visitor.open(link)
    assert left.status == 303, left.text
    async with visitor.api.request("GET", left.path) as answer:
        assert answer.status == 302, await answer.text()
        target = urlsplit(answer.headers["Location"])
    return target.path, {name: value for name, [value] in parse_qs(target.query).items()}


async def come_back(visitor, path, query):
    return await visitor.open(f"{path}?{urlencode(query)}")


async def sign_in(visitor, following=""):
    return await come_back(visitor, *await begin(visitor, following))


def assert_refused(page, status, text):
    assert (page.status, page.has_form("_sign-out")) == (status, False)
    assert text in page.text
    assert "Traceback" not in page.html


async def test_user_signs_in_and_sees_the_own_repositories(visitor, provider):
    page = await sign_in(visitor, "_search")
    assert (page.status, page.path) == (200, "/ui/_search")
    assert ALICE in page.text
    assert (await visitor.open("team/app")).status == 404
    assert (await visitor.open("other/app")).status == 403
    assert provider.faults == []


async def test_page_offers_no_password_without_passwords(visitor):
    page = await visitor.open("_sign-in")
    assert "Sign in with Example" in page.text
    assert not page.has_form("_sign-in")


async def test_page_offers_both_beside_passwords(replica):
    settings = Settings(auth=AuthSettings(methods=(AuthKind.HTPASSWD, AuthKind.OIDC)))
    page = await Visitor(await replica(settings)).open("_sign-in")
    assert "Sign in with Example" in page.text
    assert page.has_form("_sign-in")


async def test_session_is_new_after_the_sign_in_and_the_sign_in_is_gone(visitor):
    await visitor.open()
    before = visitor.cookies["registry_session"]
    path, query = await begin(visitor)
    assert visitor.cookies["registry_session"] == before
    await come_back(visitor, path, query)
    assert visitor.cookies["registry_session"] != before
    assert "registry_sign_in" not in visitor.cookies


async def test_cookie_of_the_sign_in_comes_back_from_another_site_and_is_hidden_from_scripts(visitor):
    api = visitor.api
    async with api.request("GET", "/ui/_provider", headers={"X-Forwarded-Proto": "https"}) as response:
        morsel = response.cookies["registry_sign_in"]
    assert (morsel["samesite"], morsel["httponly"], morsel["secure"]) == ("Lax", True, True)
    assert (morsel["path"], morsel["max-age"]) == ("/ui/", "600")


async def test_second_replica_finishes_the_sign_in_that_the_first_began(replica, visitor, provider):
    path, query = await begin(visitor)
    # Behind one address, as replicas are.
    host = {"X-Forwarded-Host": urlsplit(visitor.api.root).netloc}
    visitor.api = await replica()
    page = await visitor.open(f"{path}?{urlencode(query)}", headers=host)
    assert ALICE in page.text, provider.faults


async def test_redirect_uri_is_the_address_of_the_page_for_browsers(replica):
    http = HttpSettings(host="https://registry.example/base", prefix="/base/")
    visitor = Visitor(await replica(replace(OIDC, http=http)))
    left = await visitor.open("/base/ui/_provider")
    assert parse_qs(urlsplit(left.path).query)["redirect_uri"] == ["https://registry.example/base/ui/_callback"]
    visitor = Visitor(await replica())
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example"}
    left = await visitor.open("_provider", headers=headers)
    assert parse_qs(urlsplit(left.path).query)["redirect_uri"] == ["https://registry.example/ui/_callback"]


async def test_second_replica_with_another_secret_refuses(replica, visitor):
    path, query = await begin(visitor)
    visitor.api = await replica(secret=b"another")
    assert_refused(await come_back(visitor, path, query), 400, "not valid any more")


async def test_replayed_callback_is_refused(visitor, provider):
    path, query = await begin(visitor)
    cookie = visitor.cookies["registry_sign_in"]
    await come_back(visitor, path, query)
    await visitor.send((await visitor.open()).form("_sign-out"))
    assert_refused(await come_back(visitor, path, query), 400, "used before")
    # A copied cookie does not help: the provider accepts each code once.
    visitor.cookies["registry_sign_in"] = cookie
    assert_refused(await come_back(visitor, path, query), 403, "was refused")
    assert provider.faults == ["unknown or used code"]


async def test_second_return_of_a_user_who_has_signed_in_leads_to_the_repositories(visitor, provider):
    path, query = await begin(visitor)
    await come_back(visitor, path, query)
    page = await come_back(visitor, path, query)
    assert (page.path, page.status, ALICE in page.text) == (ROOT, 200, True)
    assert provider.requests["/token"] == 1


async def test_callback_of_another_browser_is_refused(visitor, provider):
    path, query = await begin(visitor)
    other = Visitor(visitor.api)
    assert_refused(await come_back(other, path, query), 400, "another browser")
    await begin(other)
    assert_refused(await come_back(other, path, query), 400, "another browser")
    assert provider.requests["/token"] == 0


# Many cases share a server, because the site of each server reads all templates.


async def test_wrong_state_is_refused(visitor, provider):
    for state in ("", "x", "é", "a" * 3000):
        path, query = await begin(visitor)
        assert_refused(await come_back(visitor, path, query | {"state": state}), 400, "not valid any more")
    assert provider.requests["/token"] == 0


async def test_forged_cookie_is_refused(visitor):
    path, query = await begin(visitor)
    for cookie in ("", "x", "é", "=" * 40, "a" * 5000, visitor.cookies["registry_session"]):
        visitor.cookies["registry_sign_in"] = cookie
        assert_refused(await come_back(visitor, path, query), 400, "not valid any more")


async def test_old_sign_in_is_refused(visitor, clock):
    path, query = await begin(visitor)
    clock[0] += timedelta(minutes=10)
    assert_refused(await come_back(visitor, path, query), 400, "too old")


async def test_looking_at_the_callback_does_not_use_up_the_code(visitor, provider):
    path, query = await begin(visitor)
    address = f"{visitor.api.root}{path}?{urlencode(query)}"
    async with visitor.api.request("HEAD", address) as response:
        assert response.status == 404
    assert ALICE in (await come_back(visitor, path, query)).text


async def test_sign_in_leads_to_pages_of_the_site_only(visitor):
    for following in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        page = await sign_in(visitor, following)
        assert page.path.startswith(ROOT)
        assert page.status in {403, 404}
    for following in ("_callback", "_provider", "_sign-out", "a" * 2000):
        page = await sign_in(visitor, following)
        assert (page.path, page.status) == (ROOT, 200)


async def test_nonce_of_another_sign_in_is_refused(visitor, provider, caplog):
    provider.people.changes = {"nonce": "another"}
    assert_refused(await sign_in(visitor), 403, "The sign-in with Example was refused.")
    assert "its nonce differs" in caplog.text
    provider.people.changes = {"nonce": None}
    assert_refused(await sign_in(visitor), 403, "was refused")


async def test_wrong_claims_are_refused(visitor, provider):
    for changes in (
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"aud": None},
        {"aud": [CLIENT, "another"]},
        {"azp": "another"},
        {"exp": 1},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": 7},
        {"sub": ""},
        {"preferred_username": None},
    ):
        provider.people.changes = changes
        assert_refused(await sign_in(visitor), 403, "was refused")


async def test_forged_id_tokens_are_refused(visitor, provider):
    whole = provider.claims(aud=CLIENT, preferred_username="alice")
    public = OctKey.import_key(provider.key_set)
    provider.people.id_token = unsigned(whole)
    assert_refused(await sign_in(visitor), 403, "was refused")
    # The public key as the secret of an HMAC.
    provider.people.id_token = sign({"alg": "HS256", "kid": "first"}, whole, public)
    assert_refused(await sign_in(visitor), 403, "was refused")
    provider.people.id_token = provider.token(aud=CLIENT)[:-4] + "AAAA"
    assert_refused(await sign_in(visitor), 403, "was refused")
    provider.people = People(header={"kid": "unknown"})
    assert_refused(await sign_in(visitor), 403, "was refused")


async def test_answer_of_another_issuer_is_refused(visitor, provider):
    for issuer in ("https://evil.example", ""):
        path, query = await begin(visitor)
        assert_refused(await come_back(visitor, path, query | {"iss": issuer}), 403, "was refused")
    assert provider.requests["/token"] == 0


async def test_answer_must_name_the_issuer_only_if_the_provider_always_does(replica, provider):
    visitor = Visitor(await replica())
    path, query = await begin(visitor)
    del query["iss"]
    assert_refused(await come_back(visitor, path, query), 403, "was refused")
    provider.discovery = {"authorization_response_iss_parameter_supported": False}
    visitor = Visitor(await replica())
    path, query = await begin(visitor)
    del query["iss"]
    assert ALICE in (await come_back(visitor, path, query)).text


async def test_error_of_the_provider_is_shown_in_plain_words(visitor, provider, caplog):
    for error, text in (
        ("access_denied", "at Example was cancelled"), ("server_error", "was refused"), ("<b>", "was refused"),
    ):  # fmt: skip
        provider.people.error = error
        page = await sign_in(visitor)
        assert_refused(page, 403, text)
        assert "<b>" not in page.html
        assert "because" not in page.html
    assert "because" in caplog.text


async def test_wrong_code_is_refused(visitor):
    for code in ("", "wrong", "a" * 4097):
        path, query = await begin(visitor)
        assert_refused(await come_back(visitor, path, query | {"code": code}), 403, "was refused")


async def test_provider_that_is_down_gets_a_clear_page(replica, provider, caplog):
    visitor = Visitor(await replica())
    provider.is_down = True
    page = await visitor.open("_provider")
    assert_refused(page, 502, "Example does not answer as expected")
    provider.is_down = False
    visitor = Visitor(await replica())
    path, query = await begin(visitor)
    provider.is_down = True
    assert_refused(await come_back(visitor, path, query), 502, "Example does not answer as expected")
    assert "cannot be reached" in caplog.text


LARGE = json.dumps({"id_token": "a" * 300_000}).encode()


async def test_unusable_answer_at_the_token_endpoint_gets_a_clear_page(visitor, provider):
    for reply in (
        Reply(LARGE),
        Reply(b"[]"),
        Reply(b"<html>"),
        Reply(b"[" * 100_000),
        Reply(status=302, location="https://evil.example/"),
        Reply(status=503),
        Reply(b'{"error": "invalid_client"}', status=400),
        Reply(status=401),
    ):
        path, query = await begin(visitor)
        provider.replies["/token"] = reply
        assert_refused(await come_back(visitor, path, query), 502, "Example does not answer as expected")


async def test_answer_without_an_id_token_is_refused(visitor, provider):
    path, query = await begin(visitor)
    provider.replies["/token"] = Reply(b'{"access_token": "x"}')
    assert_refused(await come_back(visitor, path, query), 403, "was refused")


@pytest.mark.parametrize("member", ["authorization_endpoint", "token_endpoint"])
async def test_discovery_without_addresses_gets_a_clear_page(replica, provider, member):
    visitor = Visitor(await replica())
    path, query = await begin(visitor)
    provider.discovery = {member: "javascript:alert(1)"}
    visitor.api = await replica()
    page = await (visitor.open("_provider") if member.startswith("auth") else come_back(visitor, path, query))
    assert_refused(page, 502, "Example does not answer as expected")


async def test_discovery_of_another_issuer_gets_a_clear_page(replica, provider):
    provider.replies[DISCOVERY] = Reply(json.dumps({"issuer": "https://evil.example"}).encode())
    assert_refused(await Visitor(await replica()).open("_provider"), 502, "does not answer as expected")


@pytest.mark.parametrize(
    ("methods", "secret"),
    [(["client_secret_post"], Secret(SECRET)), (["client_secret_basic"], Secret(SECRET)), (["none"], None)],
)
async def test_client_authenticates_as_the_provider_wants(replica, provider, methods, secret):
    provider.discovery = {"token_endpoint_auth_methods_supported": methods}
    visitor = Visitor(await replica(client=OidcClient(id=CLIENT, secret=secret)))
    assert ALICE in (await sign_in(visitor)).text, provider.faults


async def test_provider_without_client_secrets_gets_a_clear_page(replica, provider):
    provider.discovery = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    assert_refused(await sign_in(Visitor(await replica())), 502, "does not answer as expected")


async def test_wrong_secret_is_named_in_the_log_only(replica, provider, caplog):
    visitor = Visitor(await replica(client=OidcClient(id=CLIENT, secret=Secret("wrong"))))
    assert_refused(await sign_in(visitor), 502, "does not answer as expected")
    assert "check `clientid`" in caplog.text
    assert "wrong" not in caplog.text.replace("wrong client authentication", "")


async def test_claims_that_the_id_token_lacks_come_from_userinfo(visitor, provider):
    provider.people = People(person={"sub": "1"}, userinfo={"preferred_username": "bob", "groups": ["dev"], "aud": "x"})
    page = await sign_in(visitor, "team/app")
    assert "oidc:bob" in page.text
    assert page.status == 404


async def test_unusable_userinfo_is_refused(visitor, provider):
    provider.people = People(person={"sub": "1"})
    for reply, status in ((Reply(b'{"sub": "2", "preferred_username": "bob"}'), 403), (Reply(status=500), 502)):
        path, query = await begin(visitor)
        provider.replies["/userinfo"] = reply
        assert_refused(await come_back(visitor, path, query), status, "Example")


async def test_many_codes_at_the_same_time_are_refused(visitor, monkeypatch):
    monkeypatch.setattr(oidc, "AT_ONCE_MAX", 0)
    assert_refused(await sign_in(visitor), 429, "Too many sign-ins")


async def test_session_ends_after_twelve_hours_and_with_the_user(visitor, replica, provider, clock):
    await sign_in(visitor)
    clock[0] += timedelta(hours=13)
    assert ALICE not in (await visitor.open()).text
    provider.now = clock[0]
    await sign_in(visitor)
    [record] = [key async for key, _ in visitor.api.services.storage.walk("/docker/registry/v2/_access/users")]
    await visitor.api.services.storage.delete([record])
    assert ALICE not in (await visitor.open()).text


async def test_session_outlasts_an_outage_of_the_store(visitor, monkeypatch):
    await sign_in(visitor)
    cookie = visitor.cookies["registry_session"]

    async def fail(_users, _name):
        raise StorageUnavailableError("the store is down")

    with monkeypatch.context() as patch:
        patch.setattr(ExternalUsers, "find", fail)
        assert_refused(await visitor.open(), 503, "The storage does not answer")
    assert visitor.cookies["registry_session"] == cookie
    assert ALICE in (await visitor.open()).text


async def test_groups_follow_the_last_sign_in(visitor, provider):
    await sign_in(visitor)
    assert (await visitor.open("team/app")).status == 404
    provider.people.person["groups"] = ["other"]
    await sign_in(Visitor(visitor.api))
    assert (await visitor.open("team/app")).status == 403


async def test_name_with_a_new_owner_is_refused(visitor, provider, caplog):
    await sign_in(visitor)
    provider.people.person["sub"] = "another"
    assert_refused(await sign_in(Visitor(visitor.api)), 403, "was refused")
    assert "known with another subject" in caplog.text


async def test_key_made_on_the_page_logs_in_and_ends_with_the_user(visitor, clock):
    await sign_in(visitor)
    page = await visitor.send(
        (await visitor.open("_keys")).form("_keys"), label="x", repositories="", actions=["pull", "push"], expires="365"
    )
    [key] = {word for word in page.text.split() if word.startswith("srk_")}
    assert "docker login -u oidc:alice" not in page.text
    headers = {"Authorization": f"Bearer {key}"}
    async with visitor.api.request("POST", "/v2/team/app/blobs/uploads/", headers=headers) as response:
        assert response.status == 202
    async with visitor.api.request("POST", "/v2/other/app/blobs/uploads/", headers=headers) as response:
        assert response.status == 403
    clock[0] += timedelta(days=31)
    async with visitor.api.request("GET", "/v2/", headers=headers) as response:
        assert response.status == 401


async def test_sign_out_offers_that_of_the_provider(visitor, provider):
    page = await sign_in(visitor)
    page = await visitor.send(page.form("_sign-out"))
    assert "You have signed out of the registry" in page.text
    [link] = [link for link in page.links if link.startswith(provider.url)]
    assert parse_qs(urlsplit(link).query) == {
        "client_id": [CLIENT], "post_logout_redirect_uri": [f"{visitor.api.root}/ui/"],
    }  # fmt: skip
    async with visitor.api.request("GET", link) as response:
        assert response.status == 302, provider.faults


async def test_sign_out_of_a_provider_without_one_offers_nothing(replica, provider):
    provider.discovery = {"end_session_endpoint": None}
    visitor = Visitor(await replica())
    page = await visitor.send((await sign_in(visitor)).form("_sign-out"))
    assert "You have signed out of the registry" in page.text
    assert not [link for link in page.links if link.startswith(provider.url)]


async def test_sign_ins_are_audited(replica, provider):
    log = ListAuditLog()
    visitor = Visitor(await replica(audit_log=log))
    await sign_in(visitor)
    provider.people.changes = {"nonce": "x"}
    await sign_in(Visitor(visitor.api))
    done, refused = [event for event in log.events if event.action == "sign_in"]
    assert (done.actor, done.login, done.allowed, done.status) == (ALICE, "oidc", True, 303)
    assert (refused.actor, refused.claimed, refused.allowed, refused.status) == ("", "", False, 403)


async def test_registry_without_a_provider_has_no_pages_of_it(start_with_users):
    visitor = Visitor(await start_with_users())
    for path in ("_provider", "_callback?code=x&state=y", "_sign-out"):
        assert (await visitor.open(path)).status == 404


async def test_codes_and_states_are_not_logged(visitor, provider, caplog):
    path, query = await begin(visitor)
    await come_back(visitor, path, query)
    provider.people.changes = {"nonce": "x"}
    path, refused = await begin(visitor)
    await come_back(visitor, path, refused)
    # The access log of these tests is aiohttp's; test_access_log.py covers that of the registry.
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name != "aiohttp.access")
    assert "its nonce differs" in logged
    for secret in (query["state"], query["code"], refused["state"], refused["code"]):
        assert secret not in logged
