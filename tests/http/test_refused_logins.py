"""Refused logins: the reason is in the log, with the claimed user, and never in the answer."""

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from joserfc.jwk import KeySet

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.combined import CombinedAuthenticator
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from adapters.auth.token import TokenAuthenticator
from adapters.blob_storage.memory import InMemoryBlobStorage
from config.settings import AuditSettings, Settings
from core.access_keys.key import EVERYWHERE, Token, limit_to
from core.access_keys.service import AccessKeys
from core.model.access import MEMBERS_ONLY
from tests.http.conftest import SECRET
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor
from tests.support.htpasswd import basic, write_htpasswd
from tests.support.token_keys import ISSUER, REALM, SERVICE, claims, make_key, sign

SIGNING_KEY = make_key("ES256")
UNKNOWN_KEY = Token.new(lambda count: b"u" * count)
ANSWER = '"message":"authentication required"'


def token(**changes):
    content = claims(now=datetime.now(UTC), **changes)
    return "Bearer " + sign({"alg": "ES256", "kid": SIGNING_KEY.thumbprint()}, content, SIGNING_KEY)


LATE = token(exp=int((datetime.now(UTC) - timedelta(hours=1)).timestamp()))
REFUSED = {
    "wrong password": (basic("alice", "hunter2"), "wrong user name or password", "alice"),
    "unknown user": (basic("mallory", "hunter2"), "wrong user name or password", "mallory"),
    "unknown key": (basic("alice", UNKNOWN_KEY.text), f"the API key {UNKNOWN_KEY.id} is unknown, revoked", "alice"),
    "unknown bearer key": (f"Bearer {UNKNOWN_KEY.text}", f"the API key {UNKNOWN_KEY.id} is unknown, revoked", None),
    "mistyped key": (basic("alice", "srk_hunter2"), "the checksum is wrong", "alice"),
    "key as the user": (basic(UNKNOWN_KEY.text, "hunter2"), "wrong user name or password", None),
    "long name": (basic("a" * 65, "hunter2"), "wrong user name or password", None),
    "malformed": ("Basic hunter2", "malformed Basic credentials", None),
    "scheme": ("Digest hunter2", "the scheme is not Basic", None),
    "late token": (LATE, "the token has expired", None),
    "other issuer": (token(iss="hunter2"), "the token is refused: InvalidClaimError", None),
    "no token": ("Bearer hunter2", "the token is refused: ", None),
}


def now():
    return datetime.now(UTC)


@pytest.fixture
def keys():
    return AccessKeys(InMemoryBlobStorage(now=now), entropy=lambda count: b"k" * count, clock=lambda: 0.0, now=now)


@pytest.fixture
def users(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret")
    return HtpasswdAuthenticator(realm="r", path=str(path), clock=lambda: 0.0)


@pytest.fixture
async def api(start, tmp_path, users, keys):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(KeySet([SIGNING_KEY]).as_dict(private=False)))
    tokens = TokenAuthenticator(realm=REALM, issuer=ISSUER, service=SERVICE, key_set_path=str(path), now=now)
    keyed = AccessKeyAuthenticator(CombinedAuthenticator(users, tokens=tokens), keys, accounts=users)
    authenticator = LoginTokenAuthenticator(keyed, accounts=keyed, secret=SECRET, now=now)
    return await start(authenticator=authenticator, policy=MEMBERS_ONLY)


def refusals(caplog):
    lines = [record for record in caplog.records if record.getMessage().startswith("login failed: ")]
    return [(line.getMessage(), line.__dict__.get("auth.user.name"), line.levelno) for line in lines]


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("path", ["/v2/", "/v2/team/app/tags/list", "/auth/token"])
async def test_reason_is_logged_and_not_answered(api, caplog, case, path):
    authorization, reason, user = REFUSED[case]
    caplog.set_level(logging.DEBUG)
    async with api.request("GET", path, headers={"Authorization": authorization}) as response:
        assert response.status == 401
        assert ANSWER in (await response.text()).replace(": ", ":")
        assert reason not in str(response.headers)
    [(message, claimed, level)] = refusals(caplog)
    assert [each for each in caplog.records if each.__dict__.get("client.address") == "127.0.0.1"]
    if path != "/auth/token":
        # The endpoint takes no tokens, so for it each of them is of the wrong scheme.
        assert reason in message
        assert (level == logging.INFO) is (case == "late token")
    assert claimed == user
    for secret in ("hunter2", UNKNOWN_KEY.text, authorization.split()[1]):
        assert secret not in caplog.text
        assert secret not in repr(refusals(caplog))


async def test_failed_sign_ins_on_the_page_are_logged(start, users, keys, caplog):
    log = ListAuditLog()
    settings = Settings(audit=AuditSettings(stdout=True))
    keyed = AccessKeyAuthenticator(users, keys, accounts=users)
    visitor = Visitor(await start(settings, authenticator=keyed, policy=MEMBERS_ONLY, audit_log=log))
    key, text = await keys.create(owner="alice", label="ci", limit=limit_to(EVERYWHERE, ["pull"]))
    for name, password in (("alice", "hunter2"), ("alice", text), ("", "x"), ("alice", "secret")):
        await visitor.sign_in(name, password)
    assert [(message.removeprefix("login failed: "), user) for message, user, _ in refusals(caplog)] == [
        ("wrong user name or password", "alice"),
        (f"the API key {key.id} does not sign in to the web page", "alice"),
        ("no user has an empty name or one with a colon", None),
    ]
    assert [(event.actor, event.login, event.claimed, event.status) for event in log.events] == [
        ("", "", "alice", 403), ("", "", "alice", 403), ("", "", "", 403), ("alice", "htpasswd", "", 303),
    ]  # fmt: skip
