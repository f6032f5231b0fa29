"""API keys as passwords, as bearer tokens, and in exchange for tokens."""

import itertools
from datetime import UTC, datetime

import pytest

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from config.settings import AuditSettings, Settings
from core.access_keys.key import limit_to
from core.access_keys.service import AccessKeys
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from tests.http.conftest import SECRET
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor
from tests.support.htpasswd import basic, write_htpasswd

RULES = (
    Rule(who=("anonymous",), repositories=("public/**",), actions=(RuleAction.PULL,)),
    Rule(who=("alice",), repositories=("team/**", "public/**"), actions=tuple(RuleAction)),
)
BLOB = Digest.of(b"x")


@pytest.fixture
def keys(services):
    numbers = itertools.count(1)
    return AccessKeys(
        services.storage,
        entropy=lambda count: next(numbers).to_bytes(count, "big"),
        clock=lambda: next(numbers) * 10.0,
        now=lambda: datetime.now(UTC),
    )


@pytest.fixture
def users(tmp_path):
    return write_htpasswd(tmp_path / "htpasswd", alice="secret", bob="srk_not_a_key")


@pytest.fixture
async def api(start, users, keys):
    inner = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    keyed = AccessKeyAuthenticator(inner, keys, accounts=inner)
    authenticator = LoginTokenAuthenticator(keyed, accounts=keyed, secret=SECRET, now=lambda: datetime.now(UTC))
    return await start(authenticator=authenticator, policy=AccessPolicy(rules=RULES))


async def token_of(keys, *, repositories=("team/**",), actions=("pull", "push"), owner="alice"):
    limit = limit_to(repositories, actions)
    return (await keys.create(owner=owner, label="ci", limit=limit))[1]


async def status(api, authorization, name="team/app", method="POST"):
    path = f"/v2/{name}/blobs/uploads/?digest={BLOB}" if method == "POST" else f"/v2/{name}/blobs/{BLOB}"
    data = b"x" if method == "POST" else None
    headers = {"Authorization": authorization} if authorization else {}
    async with api.request(method, path, data=data, headers=headers) as response:
        return response.status


async def exchange(api, authorization):
    async with api.request("GET", "/auth/token", headers={"Authorization": authorization}) as response:
        assert response.status == 200, await response.text()
        return f"Bearer {(await response.json())['token']}"


@pytest.mark.parametrize("form", ["owner", "other name", "bearer", "exchanged"])
async def test_key_pushes_and_pulls_within_its_limits(api, keys, form):
    token = await token_of(keys)
    sent = {
        "owner": basic("alice", token), "other name": basic("x", token), "bearer": f"Bearer {token}",
        "exchanged": basic("alice", token),
    }[form]  # fmt: skip
    if form == "exchanged":
        sent = await exchange(api, sent)
    assert await status(api, sent) == 201
    assert await status(api, sent, method="GET") == 200
    assert await status(api, sent, method="DELETE") == 403
    assert await status(api, sent, "public/app") == 403
    assert await status(api, sent, "other/app") == 403


async def test_revoked_key_ends_with_its_tokens(api, keys):
    token = await token_of(keys)
    exchanged = await exchange(api, basic("alice", token))
    assert await status(api, exchanged) == 201
    [listed] = [each async for each in keys.listed()]
    await keys.revoke(listed.key.id)
    assert await status(api, exchanged) == 401
    assert await status(api, basic("alice", token)) == 401


async def test_key_ends_with_its_owner(api, keys, users):
    token = await token_of(keys)
    exchanged = await exchange(api, basic("alice", token))
    write_htpasswd(users, bob="b")
    assert await status(api, basic("alice", token)) == 401
    assert await status(api, exchanged) == 401


async def test_key_outlives_a_changed_password(api, keys, users):
    token = await token_of(keys)
    write_htpasswd(users, alice="other")
    assert await status(api, basic("alice", token)) == 201


async def test_password_may_look_like_a_key(api):
    assert await status(api, basic("bob", "srk_not_a_key"), "public/app", "GET") == 404
    assert await status(api, basic("bob", "srk_wrong"), "public/app", "GET") == 401
    assert await status(api, "Bearer srk_wrong", "public/app", "GET") == 401


async def test_key_opens_no_session(api, keys):
    visitor = Visitor(api)
    page = await visitor.sign_in("alice", await token_of(keys))
    assert page.status == 403


async def test_audit_names_the_key(start, users, keys):
    log = ListAuditLog()
    inner = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    api = await start(
        Settings(audit=AuditSettings(stdout=True)),
        authenticator=AccessKeyAuthenticator(inner, keys, accounts=inner),
        policy=AccessPolicy(rules=RULES),
        audit_log=log,
    )
    token = await token_of(keys)
    [listed] = [each async for each in keys.listed()]
    assert await status(api, basic("alice", token)) == 201
    assert await status(api, basic("alice", "secret")) == 201
    assert [(event.actor, event.login, event.key) for event in log.events] == [
        ("alice", "key", listed.key.id), ("alice", "htpasswd", ""),
    ]  # fmt: skip


async def test_token_is_issued_to_the_owner_of_the_key(start, users, keys):
    log = ListAuditLog()
    file = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
    inner = AccessKeyAuthenticator(file, keys, accounts=file)
    api = await start(
        Settings(audit=AuditSettings(stdout=True)),
        authenticator=LoginTokenAuthenticator(inner, accounts=inner, secret=SECRET, now=lambda: datetime.now(UTC)),
        policy=AccessPolicy(rules=RULES),
        audit_log=log,
    )
    await exchange(api, basic("somebody", await token_of(keys)))
    [listed] = [each async for each in keys.listed()]
    assert [(event.actor, event.login, event.key) for event in log.events] == [("alice", "key", listed.key.id)]
